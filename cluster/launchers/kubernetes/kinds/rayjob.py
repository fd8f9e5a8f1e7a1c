"""RayJob of KubeRay: a Ray cluster for this job, in which the Ray launcher starts the members as actors."""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cluster.launchers.kubernetes.kinds.kind import Kind
from cluster.launchers.kubernetes.objects import config_map, metadata
from cluster.launchers.kubernetes.pod import pod_template, roles_in_order
from cluster.launchers.ray.requirements import without_kubernetes
from cluster.launchers.status import JobState, LogLine
from cluster.spec import JobSpec, Resources
from cluster.spec.job_spec import FILES_MOUNT
from engine.core.errors import ConfigError

__all__ = ["RayJob"]

RAY_VERSION = "2.60.0"
_SPEC_FILE = "job.json"
_SUBMITTER = "submitter"
_ENDED = {"SUCCEEDED": JobState.SUCCEEDED, "FAILED": JobState.FAILED, "STOPPED": JobState.CANCELLED}
_DASHBOARD_PORT = 8265
# Where KubeRay's operator is installed: its chart, its manifests, Ray's own guide.
_OPERATOR_NAMESPACES = ("kuberay-system", "kuberay-operator", "ray-system", "default")
_AGENT_PORT = 52365  # of each Ray node's agent


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
                spec,
                role,
                container="ray-worker",
                command=[],
                restart_policy=None,
                mount_files=True,
                mount_secret=False,
            )
            _ray_pod(template)
            group = {"groupName": role, "replicas": count, "minReplicas": count, "maxReplicas": count}
            workers.append({**group, "rayStartParams": {}, "template": template})
        head_template = _own_pod(
            spec, "head", Resources(cpu="1", memory="2Gi", ephemeral_storage="2Gi"), "500m", restart_policy=None
        )
        _ray_pod(head_template)
        # It submits to Ray and prints what the job prints: a pod like the others, or a restricted namespace refuses it.
        submitter = _own_pod(
            spec,
            _SUBMITTER,
            Resources(cpu="1", memory="512Mi", ephemeral_storage="512Mi"),
            "100m",
            restart_policy="Never",
        )
        # No actor on the head: it only keeps the cluster's books.
        # The operator and the submitter reach the dashboard from their own pods; the job's NetworkPolicy keeps others out.
        start = {"num-cpus": "0", "dashboard-host": "0.0.0.0"}  # noqa: S104  # nosec B104
        head_group = {"rayStartParams": start, "template": head_template}
        words = ["python", "-m", "cluster.cli.main", "submit", "--launcher", "ray", "--address", "auto", "--follow"]
        body: dict[str, Any] = {
            "entrypoint": shlex.join([*words, "--spec", f"{FILES_MOUNT}/{_SPEC_FILE}"]),
            "shutdownAfterJobFinishes": True,
            "submitterPodTemplate": submitter,
            "rayClusterSpec": {"rayVersion": RAY_VERSION, "headGroupSpec": head_group, "workerGroupSpecs": workers},
        }
        if spec.timeout_s is not None:
            body["activeDeadlineSeconds"] = spec.timeout_s
        # No ttlSecondsAfterFinished: it is how long the Ray cluster of a finished job goes on, nodes, GPUs and all.
        if spec.queue:
            body["suspend"] = True
        obj = {"apiVersion": self.api_version, "kind": self.object_kind, "metadata": metadata(spec), "spec": body}
        # What Kubernetes has done for the pods already, Ray has no word for.
        return [obj, *config_map(spec, {_SPEC_FILE: without_kubernetes(spec).to_json()})]

    has_rendezvous = False  # the group's secret goes through Ray's object store

    def ingress(self, spec: JobSpec) -> list[dict[str, Any]]:
        # The operator asks the head's dashboard how the job is; without an answer the job never starts.
        names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(_OPERATOR_NAMESPACES)}
        operator = {
            "namespaceSelector": {"matchExpressions": [names]},
            "podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}},
        }
        return [{"from": [operator], "ports": [{"protocol": "TCP", "port": _DASHBOARD_PORT}]}]

    def members(self, pods: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
        # Ray's nodes of a role are alike, and have no numbers of their own: any of them may have any member.
        seen: Counter[str] = Counter()
        out = []
        for role, _ in map(self.member, pods):
            name = role if role in ("head", _SUBMITTER) else "node"
            out.append((name, seen[name]))
            seen[name] += 1
        return out

    def relays(self, role: str) -> bool:
        return role == _SUBMITTER

    def line(self, role: str, index: int, text: str) -> LogLine:
        # The Ray launcher prints what members wrote by `str` of their lines.
        if role == _SUBMITTER and (found := LogLine.parse(text)) is not None:
            return found
        return super().line(role, index, text)

    def state(self, obj: dict[str, Any]) -> tuple[JobState, str]:
        status = obj.get("status", {})
        deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
        said = ": ".join(part for part in (status.get("reason"), status.get("message")) if part)
        if deployment in ("Failed", "ValidationFailed"):
            return JobState.FAILED, said
        if deployment in ("Suspending", "Suspended"):
            return JobState.QUEUED, "suspended until a queue admits it"
        if deployment == "Complete":  # not before: until then the submitter still prints what the members wrote
            if job not in _ENDED:  # KubeRay 1.1 ends a RayJob so, too, whose submitter failed
                said = (
                    said
                    or f"ended, but Ray's job is {job or 'unknown'}; expected {', '.join(_ENDED)}: see the submitter's log"
                )
            return _ENDED.get(job, JobState.FAILED), "" if job == "SUCCEEDED" else said
        if deployment == "Retrying":  # on a cluster of its own, which comes up first
            return JobState.RESTARTING, said
        return (JobState.RUNNING if job in ("RUNNING", *_ENDED) else JobState.PENDING), ""


def _own_pod(
    spec: JobSpec, role: str, resources: Resources, idle_cpu: str, restart_policy: str | None
) -> dict[str, Any]:
    """Returns the template of a pod that keeps the cluster going and is not a member of the job."""
    # Neither runs a member: they need none of the secrets that members have.
    like = dataclasses.replace(spec, resources=resources, role_resources={}, volumes=_disk(spec), secrets=())
    template = pod_template(
        like,
        "worker",
        container=f"ray-{role}",
        command=[],
        restart_policy=restart_policy,
        mount_files=True,
        mount_secret=False,
    )
    container = template["spec"]["containers"][0]
    del container["command"], container["ports"]  # KubeRay's own
    # Busy while it starts, idle while the members work: what it may take is more than what is kept free for it.
    container["resources"]["requests"]["cpu"] = idle_cpu
    template["metadata"]["labels"]["fullpass/role"] = role
    return template


def _ray_pod(template: dict[str, Any]) -> None:
    """Has the kubelet itself ask Ray's node whether it is well: KubeRay's own probes need wget in the image."""
    container = template["spec"]["containers"][0]
    container.pop("command", None)  # KubeRay's own
    container.pop("ports", None)
    for name, patience in (("readinessProbe", 10), ("livenessProbe", 60)):
        container[name] = {
            "httpGet": {"path": "/api/healthz", "port": _AGENT_PORT},
            "initialDelaySeconds": 5,
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": patience,
        }


def _disk(spec: JobSpec) -> tuple[Any, ...]:
    """Returns the volumes that take nothing of the head's memory and hold no secret."""
    return tuple(v for v in spec.volumes if not (v.memory_bytes or v.secret or v.projected or v.csi_driver))
