"""RayJob of KubeRay: a Ray cluster for this job, in which the Ray launcher starts the members as actors."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cluster.launchers.kubernetes.kind import Kind
from cluster.launchers.kubernetes.pod import config_map, metadata, pod_template, roles_in_order
from cluster.launchers.status import JobState
from cluster.spec import JobSpec, Resources
from cluster.spec.job_spec import FILES_MOUNT
from engine.errors import ConfigError

__all__ = ["RayJob"]

RAY_VERSION = "2.60.0"
_SPEC_FILE = "job.json"
_STATES = {
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "STOPPED": JobState.CANCELLED,
    "RUNNING": JobState.RUNNING,
}


class RayJob(Kind):
    """ray.io/v1 RayJob."""

    name = "rayjob"
    api_version = "ray.io/v1"
    object_kind = "RayJob"
    plural = "rayjobs"
    needs = "KubeRay's operator (https://docs.ray.io/en/latest/cluster/kubernetes/getting-started.html)"

    def render(self, spec: JobSpec, run_id: str) -> list[dict[str, Any]]:
        if _SPEC_FILE in spec.files:
            raise ConfigError(f"files: {_SPEC_FILE!r} is the name that kind 'rayjob' gives to the job's description")
        workers = []
        for role, count in roles_in_order(spec):
            template = pod_template(
                spec, role, container="ray-worker", command=[], restart_policy=None, mount_files=True
            )
            _ray_pod(template)
            group = {"groupName": role, "replicas": count, "minReplicas": count, "maxReplicas": count}
            workers.append({**group, "rayStartParams": {}, "template": template})
        head_template = _own_pod(spec, "head", Resources(cpu="1", memory="2Gi"), restart_policy=None)
        # It submits to Ray and prints what the job prints: a pod like the others, or a restricted namespace refuses it.
        submitter = _own_pod(spec, "submitter", Resources(cpu="250m", memory="512Mi"), restart_policy="Never")
        # No actor on the head: it only keeps the cluster's books.
        head_group = {"rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"}, "template": head_template}
        words = ["python", "-m", "cluster.cli.main", "submit", "--launcher", "ray", "--address", "auto", "--follow"]
        body: dict[str, Any] = {
            "entrypoint": shlex.join([*words, "--spec", f"{FILES_MOUNT}/{_SPEC_FILE}"]),
            "shutdownAfterJobFinishes": True,
            "submitterPodTemplate": submitter,
            "rayClusterSpec": {"rayVersion": RAY_VERSION, "headGroupSpec": head_group, "workerGroupSpecs": workers},
        }
        if spec.timeout_s is not None:
            body["activeDeadlineSeconds"] = spec.timeout_s
        if spec.keep_s is not None:
            body["ttlSecondsAfterFinished"] = spec.keep_s
        if spec.queue:
            body["suspend"] = True
        obj = {"apiVersion": self.api_version, "kind": self.object_kind, "metadata": metadata(spec), "spec": body}
        return [obj, *config_map(spec, {_SPEC_FILE: spec.to_json()})]

    def members(self, pods: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
        # Ray's nodes of a role are alike, and have no numbers of their own: any of them may have any member.
        seen: Counter[str] = Counter()
        out = []
        for role, _ in map(self.member, pods):
            out.append((role, seen[role]))
            seen[role] += 1
        return out

    def state(self, obj: dict[str, Any]) -> tuple[JobState, str]:
        status = obj.get("status", {})
        if status.get("jobDeploymentStatus") == "Failed":
            return JobState.FAILED, ": ".join(p for p in (status.get("reason"), status.get("message")) if p)
        if status.get("jobDeploymentStatus") == "Suspended":
            return JobState.QUEUED, "suspended until a queue admits it"
        state = _STATES.get(status.get("jobStatus", ""), JobState.PENDING)
        return state, status.get("message", "") if state is JobState.FAILED else ""


def _own_pod(spec: JobSpec, role: str, resources: Resources, restart_policy: str | None) -> dict[str, Any]:
    """Returns the template of a pod that keeps the cluster going and is no member of the job."""
    like = dataclasses.replace(spec, resources=resources, role_resources={}, volumes=_disk(spec))
    template = pod_template(
        like, "worker", container=f"ray-{role}", command=[], restart_policy=restart_policy, mount_files=True
    )
    _ray_pod(template)
    template["metadata"]["labels"]["fullpass/role"] = role
    return template


def _ray_pod(template: dict[str, Any]) -> None:
    container = template["spec"]["containers"][0]
    del container["command"], container["ports"]  # KubeRay's own


def _disk(spec: JobSpec) -> tuple:
    """Returns the volumes that take nothing of the head's memory."""
    return tuple(volume for volume in spec.volumes if not volume.memory_bytes)
