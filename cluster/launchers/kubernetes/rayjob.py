"""RayJob of KubeRay: a Ray cluster for this job, in which the Ray launcher starts the members as actors."""

from __future__ import annotations

import dataclasses
import shlex
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
        head = dataclasses.replace(
            spec, resources=Resources(cpu="1", memory="2Gi"), role_resources={}, volumes=_disk(spec)
        )
        head_template = pod_template(
            head, "worker", container="ray-head", command=[], restart_policy=None, mount_files=True
        )
        _ray_pod(head_template)
        head_template["metadata"]["labels"]["fullpass/role"] = "head"
        # No actor on the head: it only keeps the cluster's books.
        head_group = {"rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"}, "template": head_template}
        words = ["python", "-m", "cluster.cli.main", "submit", "--launcher", "ray", "--address", "auto", "--follow"]
        body: dict[str, Any] = {
            "entrypoint": shlex.join([*words, "--spec", f"{FILES_MOUNT}/{_SPEC_FILE}"]),
            "shutdownAfterJobFinishes": True,
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

    def state(self, obj: dict[str, Any]) -> tuple[JobState, str]:
        status = obj.get("status", {})
        if status.get("jobDeploymentStatus") == "Failed":
            return JobState.FAILED, ": ".join(p for p in (status.get("reason"), status.get("message")) if p)
        if status.get("jobDeploymentStatus") == "Suspended":
            return JobState.QUEUED, "suspended until a queue admits it"
        state = _STATES.get(status.get("jobStatus", ""), JobState.PENDING)
        return state, status.get("message", "") if state is JobState.FAILED else ""


def _ray_pod(template: dict[str, Any]) -> None:
    container = template["spec"]["containers"][0]
    del container["command"], container["ports"]  # KubeRay's own


def _disk(spec: JobSpec) -> tuple:
    """Returns the volumes that take nothing of the head's memory."""
    return tuple(volume for volume in spec.volumes if not volume.memory_bytes)
