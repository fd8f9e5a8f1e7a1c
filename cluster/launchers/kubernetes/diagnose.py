"""Why a pod waits or failed, in words, from its status and events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cluster.launchers.kubernetes.api.errors import quota_exceeded
from cluster.launchers.status import JobState
from engine.machine.cgroup import PEAK_SENTENCE

__all__ = ["creation_trouble", "pod_state", "pod_trouble"]

_IMAGE = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
)
# What the kubelet's message has → what to do.
_EVICTION_ADVICE = {
    "EmptyDir": "Raise the size of that volume, or write less to it.",
    "ephemeral": "Write less to /tmp, or mount a volume there.",
    "memory": "Raise its memory request or free the node.",
}
_SIGNALS = {137: "SIGKILL", 139: "SIGSEGV", 134: "SIGABRT", 143: "SIGTERM", 135: "SIGBUS"}
_LAST_LINES = 10

Object = dict[str, Any]


def pod_state(pod: Object) -> JobState:
    """Returns the state of the member that a pod is."""
    phase = pod.get("status", {}).get("phase", "Pending")
    if pod["metadata"].get("deletionTimestamp") and phase not in ("Succeeded", "Failed"):
        return JobState.RESTARTING
    if phase == "Running" and any("waiting" in s.get("state", {}) for s in _statuses(pod)):
        return JobState.RESTARTING
    known = {"Running": JobState.RUNNING, "Succeeded": JobState.SUCCEEDED, "Failed": JobState.FAILED}
    return known.get(phase, JobState.PENDING)


def pod_trouble(pod: Object, events: Sequence[Object] = ()) -> str:
    """Returns what is wrong with a pod and what to do about it; empty where nothing is.

    Args:
        pod: as the API gives it.
        events: of this pod, oldest first.
    """
    status = pod.get("status", {})
    if status.get("reason") == "Evicted":
        message = status.get("message", "").strip()
        advice = next((text for word, text in _EVICTION_ADVICE.items() if word in message), _EVICTION_ADVICE["memory"])
        return f"evicted from {_node(pod)}: {message} {advice}"
    for item in status.get("conditions") or []:
        if item["type"] == "PodScheduled" and item["status"] == "False" and item.get("reason") == "Unschedulable":
            return f"no node can take it: {item.get('message', '')} It asks for {_asked(pod)}."
        if item["type"] == "DisruptionTarget" and item["status"] == "True":
            return f"taken from {_node(pod)}: {item.get('reason')}: {item.get('message', '')}"
    for item in _statuses(pod):
        waiting = item.get("state", {}).get("waiting")
        if waiting and (text := _waiting(pod, item, waiting, events)):
            return text
        ended = item.get("state", {}).get("terminated") or item.get("lastState", {}).get("terminated")
        if ended and ended.get("exitCode") != 0:
            return _ended(pod, item, ended)
    if status.get("phase") == "Pending":
        for event in reversed(events):
            if event.get("reason") in ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"):
                return f"{event['reason']}: {event.get('message', '')}"
    if status.get("phase") == "Failed":
        return ": ".join(part for part in (status.get("reason"), status.get("message")) if part) or "failed"
    return ""


def creation_trouble(events: Sequence[Object]) -> str:
    """Returns why pods of a job cannot be created, from the job's events; empty where they can."""
    for event in reversed(events):
        if event.get("type") == "Normal":
            return ""
        if event.get("reason") in ("FailedCreate", "FailedCreatePod", "JobCreationFailed"):
            message = event.get("message", "")
            return quota_exceeded(message) or f"pods cannot be created: {message}"
    return ""


def _waiting(pod: Object, item: Object, waiting: Object, events: Sequence[Object]) -> str:
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE:
        # "Back-off pulling image" hides the cause, which the event before it tells.
        causes = [
            e.get("message", "")
            for e in events
            if e.get("reason") == "Failed" and "pull" in e.get("message", "").lower()
        ]
        cause = next(
            (c for c in reversed(causes) if c != "Error: ImagePullBackOff" and not c.startswith("Error: Err")), message
        )
        advice = "check the name, that the nodes can reach the registry, and image_pull_secrets"
        if reason == "ErrImageNeverPull":
            cause, advice = "it is not on the node and image_pull_policy is Never", "load it there or change the policy"
        if reason == "InvalidImageName":
            advice = "write [registry/]name[:tag]"
        return f"image {item.get('image') or _image(pod)!s} cannot be pulled: {_tidy(cause)}; {advice}"
    if reason == "CrashLoopBackOff":
        ended = item.get("lastState", {}).get("terminated") or {}
        return _ended(pod, item, ended) if ended else f"crashes again and again: {message}"
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"):
        return f"its container cannot start: {message}"
    return ""


def _ended(pod: Object, item: Object, ended: Object) -> str:
    code, reason = ended.get("exitCode"), ended.get("reason", "")
    if reason == "OOMKilled":
        peak = PEAK_SENTENCE.search(ended.get("message") or "")
        limit = _container(pod, item)["resources"].get("limits", {}).get("memory", "the node's memory")
        cause = f"its {peak[0]}" if peak else f"its memory reached the limit of {limit}, which is also its peak"
        return f"out of memory (OOMKilled): {cause}; raise the memory or lower the batch size per replica"
    signal = f" ({_SIGNALS[code]})" if code in _SIGNALS else ""
    text = f"exit code {code}{signal}"
    if reason == "StartError" or reason == "ContainerCannotRun":
        return f"its container cannot start: {ended.get('message', '')}"
    lines = (ended.get("message") or "").strip().splitlines()[-_LAST_LINES:]
    return (
        f"{text}; its last lines: {' | '.join(line.strip() for line in lines)}"
        if lines
        else f"{text}; it wrote nothing"
    )


def _statuses(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _container(pod: Object, item: Object) -> Object:
    containers: list[Object] = pod["spec"]["containers"]
    for container in containers:
        if container["name"] == item["name"]:
            return container
    return {"resources": {}}


def _image(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def _node(pod: Object) -> str:
    return f"node {pod['spec'].get('nodeName')}" if pod["spec"].get("nodeName") else "its node"


def _asked(pod: Object) -> str:
    asked = pod["spec"]["containers"][0].get("resources", {}).get("requests", {})
    parts = [f"{key} {value}" for key, value in asked.items()]
    parts += [f"{key}={value}" for key, value in (pod["spec"].get("nodeSelector") or {}).items()]
    return ", ".join(parts) or "nothing special"


def _tidy(message: str) -> str:
    return re.sub(r"\s+", " ", message).strip().removeprefix("Failed to pull image ").rstrip(".;")
