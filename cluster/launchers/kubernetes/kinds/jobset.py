"""JobSet: one Indexed Job a role, each with its own resources; needs the JobSet controller."""

from __future__ import annotations

from typing import Any

from cluster.launchers.kubernetes.kinds.job import job_spec
from cluster.launchers.kubernetes.kinds.kind import Kind, ended_or_suspended
from cluster.launchers.kubernetes.objects import config_map, metadata
from cluster.launchers.kubernetes.pod import PORTS, pod_template, roles_in_order, tf_config_env
from cluster.launchers.status import JobState
from cluster.spec import JobSpec
from engine.core.environment import RUN_ID

__all__ = ["JobSet", "replicated_jobs"]


class JobSet(Kind):
    """jobset.x-k8s.io JobSet whose pods find each other as NAME-ROLE-0-INDEX.NAME."""

    name = "jobset"
    api_version = "jobset.x-k8s.io/v1alpha2"
    object_kind = "JobSet"
    plural = "jobsets"
    needs = "JobSet (https://jobset.sigs.k8s.io/docs/installation/)"

    def render(self, spec: JobSpec, run_id: str) -> list[dict[str, Any]]:
        roles = roles_in_order(spec)
        trainers = [role for role, _ in roles if role in ("chief", "worker")]
        body: dict[str, Any] = {
            # Pods ask for each other's names before they are ready.
            "network": {"enableDNSHostnames": True, "subdomain": spec.name, "publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": trainers},
            "replicatedJobs": replicated_jobs(spec, run_id, {role: role for role, _ in roles}),
        }
        if spec.keep_s is not None:
            body["ttlSecondsAfterFinished"] = spec.keep_s
        if spec.queue:
            body["suspend"] = True
        obj = {"apiVersion": self.api_version, "kind": self.object_kind, "metadata": metadata(spec), "spec": body}
        return [obj, *config_map(spec)]

    def state(self, obj: dict[str, Any]) -> tuple[JobState, str]:
        if said := ended_or_suspended(obj, "Completed"):
            return said
        jobs = obj.get("status", {}).get("replicatedJobsStatus") or []
        running = bool(jobs) and all(j.get("active", 0) + j.get("ready", 0) + j.get("succeeded", 0) > 0 for j in jobs)
        return (JobState.RUNNING if running else JobState.PENDING), ""


def replicated_jobs(spec: JobSpec, run_id: str, names: dict[str, str]) -> list[dict[str, Any]]:
    """Returns a JobSet's Jobs, one a role.

    Args:
        spec: the job.
        run_id: equal in all pods of this run.
        names: role → name of its replicated job.
    """
    roles = roles_in_order(spec)
    addresses = {
        role: [f"{spec.name}-{names[role]}-0-{i}.{spec.name}:{PORTS['tensorflow']}" for i in range(count)]
        for role, count in roles
    }
    out = []
    for role, count in roles:
        env = [{"name": RUN_ID.name, "value": run_id}, *tf_config_env(addresses, role)]
        body = job_spec(spec, count, pod_template(spec, role, env=env))
        body.pop("ttlSecondsAfterFinished", None)  # the JobSet's own
        out.append({"name": names[role], "replicas": 1, "template": {"spec": body}})
    return out
