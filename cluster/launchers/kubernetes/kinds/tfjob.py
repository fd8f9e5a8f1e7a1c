"""TFJob of Kubeflow's training operator (v1): it writes TF_CONFIG and a service for each pod itself."""

from __future__ import annotations

from typing import Any

from cluster.launchers.kubernetes.kinds.kind import Kind, condition, ended_or_suspended
from cluster.launchers.kubernetes.objects import config_map, metadata
from cluster.launchers.kubernetes.pod import pod_template, roles_in_order
from cluster.launchers.status import JobState
from cluster.spec import JobSpec
from engine.core.environment import RUN_ID

__all__ = ["TFJob"]

_REPLICA_TYPES = {"chief": "Chief", "worker": "Worker", "ps": "PS", "evaluator": "Evaluator"}


class TFJob(Kind):
    """kubeflow.org/v1 TFJob."""

    name = "tfjob"
    api_version = "kubeflow.org/v1"
    object_kind = "TFJob"
    plural = "tfjobs"
    needs = "Kubeflow's training operator v1 (https://github.com/kubeflow/training-operator/tree/release-1.8)"

    def render(self, spec: JobSpec, run_id: str) -> list[dict[str, Any]]:
        # ExitCode replaces a pod that ended with 128 or more (killed, preempted) and fails the job on 1 to 127, which
        # is what the supervisor's codes mean; a program of unknown codes is started again by the kubelet.
        restart = "ExitCode" if spec.supervised else "OnFailure"
        run = {"name": RUN_ID.name, "value": run_id}
        replicas = {}
        for role, count in roles_in_order(spec):
            # The operator finds the container by this name, and the port by "tfjob-port".
            template = pod_template(spec, role, env=[run], container="tensorflow", restart_policy=None)
            template["spec"]["containers"][0]["ports"][0]["name"] = "tfjob-port"
            replicas[_REPLICA_TYPES[role]] = {"replicas": count, "restartPolicy": restart, "template": template}
        policy: dict[str, Any] = {"cleanPodPolicy": "Running", "backoffLimit": spec.max_restarts * spec.num_pods}
        if spec.timeout_s is not None:
            policy["activeDeadlineSeconds"] = spec.timeout_s
        if spec.keep_s is not None:
            policy["ttlSecondsAfterFinished"] = spec.keep_s
        if spec.queue:
            policy["suspend"] = True
        body = {"runPolicy": policy, "successPolicy": "AllWorkers", "tfReplicaSpecs": replicas}
        obj = {"apiVersion": self.api_version, "kind": self.object_kind, "metadata": metadata(spec), "spec": body}
        return [obj, *config_map(spec)]

    def state(self, obj: dict[str, Any]) -> tuple[JobState, str]:
        if said := ended_or_suspended(obj, "Succeeded"):
            return said
        if condition(obj, "Restarting"):
            return JobState.RESTARTING, ""
        return (JobState.RUNNING if condition(obj, "Running") else JobState.PENDING), ""

    def member(self, pod: dict[str, Any]) -> tuple[str, int]:
        labels = pod["metadata"]["labels"]
        return labels.get("fullpass/role", "worker"), int(labels.get("training.kubeflow.org/replica-index", "0"))
