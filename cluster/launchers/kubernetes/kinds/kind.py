"""What a kind of Kubernetes job must say; one file each, listed in `KINDS`."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Sequence
from typing import Any

from cluster.launchers.kubernetes.isolation import group_secret, network_policy
from cluster.launchers.status import JobState, LogLine
from cluster.spec import JobSpec
from engine.core.errors import ConfigError

__all__ = ["KINDS", "Kind", "kind"]

KINDS = {
    "job": "cluster.launchers.kubernetes.kinds.job:IndexedJob",
    "jobset": "cluster.launchers.kubernetes.kinds.jobset:JobSet",
    "trainjob": "cluster.launchers.kubernetes.kinds.trainjob:TrainJob",
    "tfjob": "cluster.launchers.kubernetes.kinds.tfjob:TFJob",
    "rayjob": "cluster.launchers.kubernetes.kinds.rayjob:RayJob",
}


class Kind(abc.ABC):
    """One kind of object that runs a job.

    Attributes:
        name: as in `KINDS`.
        api_version: group/version of the object.
        object_kind: its kind.
        plural: its resource.
        needs: what a cluster must have installed; empty for nothing.
        before: kinds of owned objects that must be there before the one that runs the job.
        has_rendezvous: its pods are members of a group that shares a Secret.
    """

    name: str
    api_version: str
    object_kind: str
    plural: str
    needs: str = ""
    before: frozenset[str] = frozenset()
    has_rendezvous: bool = True

    def objects(self, spec: JobSpec, run_id: str, secret: str) -> list[dict[str, Any]]:
        """Returns what `render` does, and what keeps the job apart; all with this kind's label: jobs of two kinds may have the same name.

        Args:
            spec: the job.
            run_id: equal in all pods of this run.
            secret: that the supervisors of the group share.
        """
        policy = network_policy(spec, self.ingress(spec))
        policy["metadata"]["name"] = f"{spec.name}-{self.name}"
        secrets = group_secret(spec, secret) if self.has_rendezvous else []
        return [_with_kind(each, self.name) for each in (*self.render(spec, run_id), *secrets, policy)]

    def ingress(self, spec: JobSpec) -> list[dict[str, Any]]:
        """Returns rules of who else must reach the job's pods."""
        return []

    @abc.abstractmethod
    def render(self, spec: JobSpec, run_id: str) -> list[dict[str, Any]]:
        """Returns the objects of a job: first the one that runs it, then those that it shall own.

        Raises:
            ConfigError: this kind cannot run such a job.
        """

    @abc.abstractmethod
    def state(self, obj: dict[str, Any]) -> tuple[JobState, str]:
        """Returns the state that the object itself tells, and its message."""

    def members(self, pods: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
        """Returns (role, index) of each of a job's pods, given from the oldest to the newest."""
        return [self.member(pod) for pod in pods]

    def relays(self, role: str) -> bool:
        """Returns whether a pod of this role also prints what members wrote: it is read whoever's lines are wanted."""
        return False

    def line(self, role: str, index: int, text: str) -> LogLine:
        """Returns a line of the log of a pod that is (role, index) as a line of whoever wrote it."""
        return LogLine(role=role, index=index, text=text)

    def member(self, pod: dict[str, Any]) -> tuple[str, int]:
        """Returns (role, index) of a pod of this kind."""
        meta = pod["metadata"]
        index = meta.get("annotations", {}).get("batch.kubernetes.io/job-completion-index", "0")
        return meta["labels"].get("fullpass/role", "worker"), int(index)


def kind(name: str) -> Kind:
    """Returns the kind of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in KINDS:
        raise ConfigError(f"kind = {name!r}: expected one of {', '.join(KINDS)}")
    module, _, cls = KINDS[name].partition(":")
    found: type[Kind] = getattr(importlib.import_module(module), cls)
    return found()


def _with_kind(value: Any, name: str) -> Any:
    if isinstance(value, list):
        return [_with_kind(item, name) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: _with_kind(item, name) for key, item in value.items()}
    return {**out, "fullpass/kind": name} if "fullpass/job" in out else out


def condition(obj: dict[str, Any], *types: str) -> dict[str, Any] | None:
    """Returns the first condition of these types that is true."""
    for wanted in types:
        conditions: list[dict[str, Any]] = obj.get("status", {}).get("conditions") or []
        for item in conditions:
            if item["type"] == wanted and item["status"] == "True":
                return item
    return None


def condition_text(item: dict[str, Any]) -> str:
    """Returns reason and message of a condition."""
    return ": ".join(part for part in (item.get("reason"), item.get("message")) if part)


def ended_or_suspended(obj: dict[str, Any], succeeded: str) -> tuple[JobState, str] | None:
    """Returns the state and message that an object's conditions tell, or None while it is neither finished nor suspended.

    Args:
        obj: as the API gives it.
        succeeded: type of the condition that tells of success: each kind has a word of its own.
    """
    if condition(obj, succeeded):
        return JobState.SUCCEEDED, ""
    if failed := condition(obj, "Failed"):
        return JobState.FAILED, condition_text(failed)
    if condition(obj, "Suspended"):
        return JobState.QUEUED, "suspended until a queue admits it"
    return None
