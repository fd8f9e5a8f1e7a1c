"""Indexed Job and headless Service: needs nothing installed."""

from __future__ import annotations

import json
from typing import Any

from cluster.launchers.kubernetes.kinds.kind import Kind, condition, condition_text
from cluster.launchers.kubernetes.objects import config_map, metadata
from cluster.launchers.kubernetes.pod import (
    PORTS,
    index_env,
    pod_template,
    roles_in_order,
    same_resources,
    tf_config_env,
)
from cluster.launchers.status import JobState
from cluster.spec import JobSpec
from engine.core.environment import CLUSTER, RUN_ID
from engine.core.errors import ConfigError
from engine.core.exit_codes import PREEMPTED

__all__ = ["IndexedJob", "job_spec"]


class IndexedJob(Kind):
    """batch/v1 Job whose pods find each other as NAME-INDEX.NAME."""

    name = "job"
    api_version = "batch/v1"
    object_kind = "Job"
    plural = "jobs"

    def render(self, spec: JobSpec, run_id: str) -> list[dict[str, Any]]:
        if not same_resources(spec):
            raise ConfigError(
                f"kind 'job' has one pod template for all roles; role_resources of {', '.join(spec.role_resources)} need kind "
                "'jobset' or 'tfjob'"
            )
        roles = roles_in_order(spec)
        hosts = [f"{spec.name}-{i}.{spec.name}:{PORTS['tensorflow']}" for i in range(spec.num_pods)]
        addresses, at = {}, 0
        for role, count in roles:
            addresses[role] = hosts[at : at + count]
            at += count
        run = {"name": RUN_ID.name, "value": run_id}
        first = roles[0][0]
        if len(roles) == 1:
            template = pod_template(spec, first, env=[run, *tf_config_env(addresses, first)], subdomain=spec.name)
        else:
            # Index → role is more than Kubernetes can put into a text: a few lines in the image do it.
            members = {"name": CLUSTER.name, "value": json.dumps(addresses)}
            words = ["python", "-m", "cluster.members.place", *spec.words()]
            template = pod_template(spec, first, env=[run, index_env(), members], subdomain=spec.name, command=words)
            del template["metadata"]["labels"]["fullpass/role"]
            theirs = template["metadata"].get("annotations") or {}
            template["metadata"]["annotations"] = {**theirs, "fullpass/roles": json.dumps(dict(roles))}
        body = job_spec(spec, spec.num_pods, template)
        idle = sum(spec.roles.get(role, 0) for role in ("ps", "evaluator"))
        if idle:  # parameter servers and the evaluator never end by themselves; they come last
            body["successPolicy"] = {"rules": [{"succeededIndexes": f"0-{spec.num_pods - idle - 1}"}]}
        if spec.queue:
            body["suspend"] = True
        job = {"apiVersion": self.api_version, "kind": self.object_kind, "metadata": metadata(spec), "spec": body}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(spec),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": {"fullpass/job": spec.name},
                "ports": [{"name": name, "port": port} for name, port in PORTS.items()],
            },
        }
        return [job, service, *config_map(spec)]

    def state(self, obj: dict[str, Any]) -> tuple[JobState, str]:
        status = obj.get("status", {})
        if condition(obj, "Complete", "SuccessCriteriaMet"):
            return (JobState.SUCCEEDED, "") if condition(obj, "Complete") else (JobState.RUNNING, "")
        failed = condition(obj, "Failed", "FailureTarget")
        if failed:
            return JobState.FAILED, condition_text(failed)
        if condition(obj, "Suspended") or obj["spec"].get("suspend"):
            queue = obj["metadata"].get("labels", {}).get("kueue.x-k8s.io/queue-name")
            return JobState.QUEUED, f"waits for Kueue to admit it through queue {queue!r}" if queue else "suspended"
        # Pods that only need to be counted: `ready` leaves out those that have just started.
        if status.get("active", 0) + status.get("succeeded", 0) < obj["spec"].get("completions", 1):
            return (JobState.RESTARTING, "") if status.get("failed") else (JobState.PENDING, "")
        return JobState.RUNNING, ""

    def member(self, pod: dict[str, Any]) -> tuple[str, int]:
        role, index = super().member(pod)
        roles = pod["metadata"].get("annotations", {}).get("fullpass/roles")
        for role_name, count in json.loads(roles).items() if roles else ():
            if index < count:
                return role_name, index
            index -= count
        return role, index


def job_spec(spec: JobSpec, count: int, template: dict[str, Any]) -> dict[str, Any]:
    """Returns the spec of an Indexed Job of `count` pods."""
    rules: list[dict[str, Any]] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    ]
    if not spec.command:
        rules.append({"action": "Ignore", "onExitCodes": {"operator": "In", "values": [PREEMPTED]}})
        final = {"operator": "In", "values": list(spec.final_exit_codes)}
        rules.append({"action": "FailJob", "onExitCodes": final})
    out = {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": count,
        "backoffLimit": spec.max_restarts * count,
        "podFailurePolicy": {"rules": rules},
        "template": template,
    }
    if spec.timeout_s is not None:
        out["activeDeadlineSeconds"] = spec.timeout_s
    if spec.keep_s is not None:
        out["ttlSecondsAfterFinished"] = spec.keep_s
    return out
