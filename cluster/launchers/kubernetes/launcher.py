"""Kubernetes: the kind's objects, created whole or not at all, followed, explained, removed."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from cluster.launchers.base import JobHandle, JobNotFound, Launcher, LauncherError
from cluster.launchers.kubernetes.api.client import Api
from cluster.launchers.kubernetes.api.errors import AlreadyThere
from cluster.launchers.kubernetes.api.logs import follow_logs, read_logs
from cluster.launchers.kubernetes.diagnose import creation_trouble, pod_state, pod_trouble
from cluster.launchers.kubernetes.isolation import UNSET_SECRET
from cluster.launchers.kubernetes.kinds.kind import kind as kind_named
from cluster.launchers.kubernetes.pod_rights import refused_at, rights_beyond
from cluster.launchers.log_query import LogQuery
from cluster.launchers.status import JobState, JobStatus, LogLine, TaskStatus
from cluster.spec import JobSpec
from cluster.spec.job_spec import ROLES
from engine.core.errors import ConfigError
from engine.core.run_log import tell
from trainers.rendezvous.group_secret import new_secret

__all__ = ["KubernetesLauncher"]

_DELETE_WAIT_S = 120.0
_COLLECT_WAIT_S, _COLLECT_POLL_S = 30.0, 0.5


class KubernetesLauncher(Launcher):
    """Runs jobs on a Kubernetes cluster.

    Args:
        kind: "job" (needs nothing installed), "jobset", "trainjob", "tfjob" or "rayjob".
        namespace: where None, that of the context.
        context: of the kubeconfig; where None, its current one.
        kubeconfig: file; where None, as kubectl finds it.

    Attributes:
        poll_s: seconds between two looks at the pods whose logs are followed.
    """

    poll_s: float = 1.0

    def __init__(
        self,
        kind: str = "job",
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | None = None,
    ) -> None:
        self._kind = kind_named(kind)
        self.name = f"kubernetes/{kind}"
        self._connect = (kubeconfig, context, namespace)
        self._connected: Api | None = None

    @property
    def api(self) -> Api:
        """The connection, made when first needed: rendering needs none."""
        if self._connected is None:
            self._connected = Api(*self._connect)
        return self._connected

    def render(self, spec: JobSpec) -> builtins.list[dict[str, Any]]:
        return self._kind.objects(spec, run_id=spec.name, secret=UNSET_SECRET)

    def submit(self, spec: JobSpec, *, dry_run: bool = False) -> JobHandle:
        # A run's id keeps what is left of an earlier run of this name out of the group.
        run_id = f"{spec.name}-{secrets.token_hex(4)}"
        objects = self._kind.objects(spec, run_id=run_id, secret=new_secret())
        self._check_rights(spec, objects)
        main, *owned = objects
        before = [obj for obj in owned if obj["kind"] in self._kind.before]
        after = [obj for obj in owned if obj["kind"] not in self._kind.before]
        with contextlib.ExitStack() as undo:
            for obj in before:  # also for a dry run: the main object is refused without them
                self.api.create(obj, self._kind, dry_run=False)
                undo.callback(self._quietly, self.api.remove, obj)
            uid = self.api.create(main, self._kind, dry_run=dry_run)["metadata"].get("uid")
            if dry_run:
                for obj in after:
                    self.api.create(obj, self._kind, dry_run=True)
                return JobHandle(self, spec.name)
            undo.callback(self._quietly, self.api.delete, self._kind, spec.name)
            owner = {
                "apiVersion": self._kind.api_version,
                "kind": self._kind.object_kind,
                "name": spec.name,
                "uid": uid,
            }
            for obj in before:
                self.api.own(obj, owner)
            for obj in after:
                obj["metadata"]["ownerReferences"] = [owner]
                self._create_owned(obj)
            undo.pop_all()
            return JobHandle(self, spec.name)

    def _create_owned(self, obj: dict[str, Any]) -> None:
        """Creates what the new job owns. One of the same name is an earlier job's, which the cluster is deleting: it is waited for."""
        deadline = time.monotonic() + _COLLECT_WAIT_S
        while True:
            try:
                self.api.create(obj, self._kind, dry_run=False)
                return
            except AlreadyThere:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_COLLECT_POLL_S)

    def status(self, name: str) -> JobStatus:
        return self._status(self.api.get(self._kind, name))

    def lines(self, name: str, query: LogQuery) -> Iterator[LogLine]:
        self.api.get(self._kind, name)  # no job: said at once
        if query.follow:
            return follow_logs(self.api, self._kind, name, query, patience_s=self.patience_s, poll_s=self.poll_s)
        return read_logs(self.api, self._kind, name, query)

    def cancel(self, name: str) -> None:
        self.api.delete(self._kind, name)
        deadline = time.monotonic() + _DELETE_WAIT_S
        while left := self._left(name):
            if time.monotonic() > deadline:
                raise LauncherError(
                    f"{name} is being deleted, but after {_DELETE_WAIT_S:.0f} s these objects are still there:  {', '.join(left)}"
                )
            time.sleep(0.5)

    def list(self) -> builtins.list[JobStatus]:
        found = self.api.jobs(self._kind)
        newest = sorted(found, key=lambda obj: obj["metadata"]["creationTimestamp"], reverse=True)
        return [self._status(obj) for obj in newest]

    def _check_rights(self, spec: JobSpec, objects: builtins.list[dict[str, Any]]) -> None:
        """Refuses at once what the namespace would refuse pod by pod, long after the job was accepted; says what it would not."""
        plain = self.render(dataclasses.replace(spec, pod_patch={})) if spec.pod_patch else objects
        paths = [volume.mount_path for volume in spec.volumes if volume.host_path]
        patched = rights_beyond(plain, objects)
        level = self.api.pod_security() if paths or patched else None
        if paths and level in ("baseline", "restricted"):
            raise ConfigError(
                f"volume at {paths[0]}: namespace {self.api.namespace} enforces pod security {level!r}, which forbids "
                "directories of nodes (host=); use a claim, or a namespace that is 'privileged'"
            )
        if refused := refused_at(patched, level):
            raise ConfigError(
                f"pod_patch.{refused[0]}: namespace {self.api.namespace} enforces pod security {level!r}, which forbids it; leave "
                "it out, or use a namespace that is 'privileged'"
            )
        if patched:
            outside = "; no NetworkPolicy holds for it, so whoever reaches the node owns the run" * any(
                text.startswith("spec.hostNetwork") for text in patched
            )
            tell(
                f"{spec.name}: pod_patch gives its pods more than pod security 'restricted' allows, and namespace {self.api.namespace} "
                f"does not forbid it: {', '.join(patched)}{outside}"
            )

    @staticmethod
    def _quietly(call: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(LauncherError):
            call(*args)

    def _left(self, name: str) -> builtins.list[str]:
        with contextlib.suppress(JobNotFound):
            self.api.get(self._kind, name)
            return [f"{self._kind.object_kind} {name}"]
        return self.api.leftovers(self._kind, name)

    def _status(self, obj: dict[str, Any]) -> JobStatus:
        name, reported = obj["metadata"]["name"], obj.get("status", {})
        state, message = self._kind.state(obj)
        tasks = self._tasks(name)
        state = _with_tasks(state, tasks)
        troubles = [task for task in tasks if task.message and task.state is not JobState.SUCCEEDED]
        if not state.finished and state is not JobState.QUEUED:
            trouble = creation_trouble(self.api.events(obj)) if not tasks else ""
            message = message or trouble
        if troubles and state is not JobState.SUCCEEDED:
            first = troubles[0]
            said = f"{first.role}-{first.index}: {first.message}"
            message = f"{message}; {said}" if message else said
        return JobStatus(
            name=name,
            launcher=self.name,
            state=state,
            message=message,
            tasks=tasks,
            submitted=obj["metadata"]["creationTimestamp"],
            finished=reported.get("completionTime") or reported.get("endTime") or "",
        )

    def _tasks(self, name: str) -> tuple[TaskStatus, ...]:
        members: dict[tuple[str, int], builtins.list[dict[str, Any]]] = {}
        pods = self.api.pods(self._kind, name)
        for member, pod in zip(self._kind.members(pods), pods):
            members.setdefault(member, []).append(pod)
        order = {role: rank for rank, role in enumerate(ROLES)}
        return tuple(
            self._task(role, index, members[role, index])
            for role, index in sorted(members, key=lambda m: (order.get(m[0], len(order)), m))
        )

    def _task(self, role: str, index: int, pods: builtins.list[dict[str, Any]]) -> TaskStatus:
        """Returns the state of a member from its pods: the newest lives, the older ones were replaced."""
        newest, state = pods[-1], pod_state(pods[-1])
        in_place = sum(s.get("restartCount", 0) for s in newest.get("status", {}).get("containerStatuses") or [])
        message = ""
        if state is not JobState.SUCCEEDED:
            message = pod_trouble(newest, self.api.events(newest) if state is JobState.PENDING else ())
            if not message and len(pods) > 1:
                message = f"replaced {pods[-2]['metadata']['name']}: {pod_trouble(pods[-2])}"
        return TaskStatus(
            role=role,
            index=index,
            state=state,
            restarts=len(pods) - 1 + in_place,
            where=newest["metadata"]["name"],
            message=message,
        )


def _with_tasks(state: JobState, tasks: tuple[TaskStatus, ...]) -> JobState:
    """Returns the state of a job whose object only counts its pods: one that is not placed yet counts as active."""
    if state is not JobState.RUNNING:
        return state
    states = {task.state for task in tasks}
    if JobState.PENDING in states:
        return JobState.RESTARTING if any(task.restarts for task in tasks) else JobState.PENDING
    return JobState.RESTARTING if JobState.RESTARTING in states else state
