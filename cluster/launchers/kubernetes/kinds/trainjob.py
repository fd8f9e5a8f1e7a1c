"""TrainJob of Kubeflow Trainer v2, with a runtime of its own: Trainer has none for TensorFlow."""

from __future__ import annotations

from typing import Any

from cluster.launchers.kubernetes.kinds.jobset import replicated_jobs
from cluster.launchers.kubernetes.kinds.kind import Kind, ended_or_suspended
from cluster.launchers.kubernetes.objects import config_map, metadata
from cluster.launchers.status import JobState
from cluster.spec import JobSpec
from engine.core.errors import ConfigError

__all__ = ["TrainJob"]

_GROUP = "trainer.kubeflow.org"
_NODE = "node"  # the name that Trainer expects of the Job that trains, and of its container


class TrainJob(Kind):
    """trainer.kubeflow.org TrainJob and the TrainingRuntime that gives its pods TF_CONFIG."""

    name = "trainjob"
    api_version = f"{_GROUP}/v1alpha1"
    object_kind = "TrainJob"
    plural = "trainjobs"
    needs = "Kubeflow Trainer v2 (https://www.kubeflow.org/docs/components/trainer/)"
    before = frozenset({"TrainingRuntime"})

    def render(self, spec: JobSpec, run_id: str) -> list[dict[str, Any]]:
        if set(spec.roles) != {"worker"}:
            raise ConfigError(
                f"kind 'trainjob' has equal nodes: roles may only have workers, seen {', '.join(spec.roles)}"
            )
        (job,) = replicated_jobs(spec, run_id, {"worker": _NODE})
        template = job["template"]
        template["metadata"] = {"labels": {f"{_GROUP}/trainjob-ancestor-step": "trainer"}}
        template["spec"]["template"]["spec"]["containers"][0]["name"] = _NODE
        network = {"enableDNSHostnames": True, "subdomain": spec.name, "publishNotReadyAddresses": True}
        runtime = {
            "apiVersion": self.api_version,
            "kind": "TrainingRuntime",
            "metadata": metadata(spec),
            "spec": {
                "mlPolicy": {"numNodes": spec.num_pods},
                "template": {"spec": {"network": network, "replicatedJobs": [job]}},
            },
        }
        body: dict[str, Any] = {
            "runtimeRef": {"apiGroup": _GROUP, "kind": "TrainingRuntime", "name": spec.name},
            "trainer": {"numNodes": spec.num_pods},
        }
        if spec.queue:
            body["suspend"] = True
        obj = {"apiVersion": self.api_version, "kind": self.object_kind, "metadata": metadata(spec), "spec": body}
        return [obj, runtime, *config_map(spec)]

    def state(self, obj: dict[str, Any]) -> tuple[JobState, str]:
        if said := ended_or_suspended(obj, "Complete"):
            return said
        jobs = obj.get("status", {}).get("jobsStatus") or []
        running = any(job.get("active", 0) or job.get("ready", 0) for job in jobs)
        return (JobState.RUNNING if running else JobState.PENDING), ""
