"""`RayLauncher`: the verbs of a launcher, each a call of the job's coordinator."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from cluster.launchers.base import JobHandle, JobNotFound, Launcher, LauncherError
from cluster.launchers.log_query import LogQuery, split_log
from cluster.launchers.ray.own_ray import LOCAL, import_for_own_ray, start_own_ray
from cluster.launchers.ray.requirements import PLACEMENTS, bundles, check_feasible, check_supported
from cluster.launchers.status import JobStatus, LogLine
from cluster.spec import JobSpec
from engine.core.errors import ConfigError

__all__ = ["RayLauncher"]

_PREFIX = "fullpass-job-"
_POLL_S = 0.5


class RayLauncher(Launcher):
    """Runs jobs on a Ray cluster whose nodes have this project installed.

    Args:
        address: "auto" takes RAY_ADDRESS or the cluster of this machine; "local" starts a fresh Ray that ends with this process; else
            "host:6379" or "ray://host:10001".
        namespace: Ray namespace of the jobs; a job is seen only within it.
        placement: PACK (few nodes), SPREAD (many), STRICT_PACK (one), STRICT_SPREAD (each member on its own).
        autoscaling: the cluster grows on demand: wait for room that no node has yet in place of refusing the job.

    Raises:
        ConfigError: an unknown placement.
    """

    name = "ray"

    def __init__(
        self, address: str = "auto", namespace: str = "fullpass", placement: str = "PACK", autoscaling: bool = False
    ) -> None:
        if placement not in PLACEMENTS:
            raise ConfigError(f"placement = {placement!r}: expected one of {', '.join(PLACEMENTS)}")
        self._address, self._namespace, self._placement = address, namespace, placement
        self._autoscaling = autoscaling
        self.ends_with_process = address == LOCAL

    def render(self, spec: JobSpec) -> list[dict[str, Any]]:
        """Returns the placement group and the actors that `submit` would ask for; nothing is sent."""
        check_supported(spec)
        names = [f"{role}-{index}" for role, index in spec.members()]
        return [
            {"placement_group": {"strategy": self._placement, "bundles": bundles(spec)}},
            *({"actor": name, "command": spec.words(), "env": dict(spec.env)} for name in names),
        ]

    def submit(self, spec: JobSpec, *, dry_run: bool = False) -> JobHandle:
        """Starts the job's coordinator on the head node, which starts the members.

        Raises:
            LauncherError: a job of this name is there, no node is large enough, or the coordinator could not start.
        """
        check_supported(spec)
        ray = self._connect()
        if not self._autoscaling:
            check_feasible(spec, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        if dry_run:
            return JobHandle(self, spec.name)
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from cluster.launchers.ray.coordinator import Coordinator

        head = next(
            (n["NodeID"] for n in ray.nodes() if n["Alive"] and "node:__internal_head__" in n["Resources"]), None
        )
        options: dict[str, Any] = (
            {} if head is None else {"scheduling_strategy": NodeAffinitySchedulingStrategy(head, soft=False)}
        )
        actor = ray.remote(Coordinator).options(
            name=_PREFIX + spec.name,
            namespace=self._namespace,
            lifetime="detached",
            num_cpus=0,
            max_concurrency=16,
            **options,
        )
        try:
            coordinator = actor.remote(spec.to_json(), self._placement)
            ray.get(coordinator.status.remote(), timeout=120)
        except ValueError as error:
            raise LauncherError(
                f"a job named {spec.name!r} is there already; cancel it or take another name"
            ) from error
        except ray.exceptions.RayActorError as error:
            raise LauncherError(
                f"the coordinator could not start; is fullpass installed on the head node? {error}"
            ) from error
        return JobHandle(self, spec.name)

    def status(self, name: str) -> JobStatus:
        """Returns the state of a job and of each of its members, as its coordinator knows them."""
        status: JobStatus = self._ask(name, "status")
        return status

    def lines(self, name: str, query: LogQuery) -> Iterator[LogLine]:
        """Yields the lines of the chosen members; with `follow` until the job has ended.

        Raises:
            ConfigError: the job has no such member.
        """
        offsets = dict.fromkeys(query.members(name, self.status(name).tasks), 0)
        rest = dict.fromkeys(offsets, b"")
        first = True
        while True:
            # The state is asked for before the logs: what was written before the end is then surely read.
            finished = self.status(name).state.finished or not query.follow
            for key in offsets:
                lines = self._new_lines(name, key, offsets, rest, finished)
                for line in query.last(lines) if first else lines:
                    yield LogLine(role=key[0], index=key[1], text=line)
            if finished:
                return
            first = False
            time.sleep(_POLL_S)

    def _new_lines(
        self,
        name: str,
        key: tuple[str, int],
        offsets: dict[tuple[str, int], int],
        rest: dict[tuple[str, int], bytes],
        finished: bool,
    ) -> list[str]:
        text = rest[key]
        while part := self._ask(name, "read_log", f"{key[0]}-{key[1]}", offsets[key]):
            offsets[key] += len(part)
            text += part
        if finished:
            whole, rest[key] = text, b""
        else:
            whole, _, rest[key] = text.rpartition(b"\n")
        return split_log(whole)

    def cancel(self, name: str) -> None:
        """Ends the members and then the coordinator."""
        ray = self._connect()
        coordinator = self._coordinator(name)
        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(coordinator.cancel.remote())
        ray.kill(coordinator)

    def list(self) -> list[JobStatus]:
        """Returns the jobs of this namespace, the newest first."""
        self._connect()
        from ray.util import list_named_actors

        jobs = []
        for entry in list_named_actors(all_namespaces=True):
            if entry["namespace"] == self._namespace and entry["name"].startswith(_PREFIX):
                with contextlib.suppress(JobNotFound):
                    jobs.append(self.status(entry["name"].removeprefix(_PREFIX)))
        return sorted(jobs, key=lambda job: job.submitted, reverse=True)

    def _ask(self, name: str, method: str, *args: Any) -> Any:
        ray = self._connect()
        try:
            return ray.get(getattr(self._coordinator(name), method).remote(*args), timeout=120)
        except ray.exceptions.RayActorError as error:
            raise JobNotFound(f"the record of job {name!r} is gone from this Ray cluster") from error

    def _coordinator(self, name: str) -> Any:
        ray = self._connect()
        try:
            return ray.get_actor(_PREFIX + name, namespace=self._namespace)
        except ValueError:
            raise JobNotFound(
                f"no job {name!r} on this Ray cluster; `fullpass status --launcher ray` lists them"
            ) from None

    def _connect(self) -> Any:
        own = self._address == LOCAL
        if own:
            import_for_own_ray()
        import ray

        if own and not ray.is_initialized():
            start_own_ray(namespace=self._namespace, logging_level="warning")
        elif not ray.is_initialized():
            try:
                ray.init(address=self._address, namespace=self._namespace, log_to_driver=False, logging_level="warning")
            except ConnectionError as error:
                raise LauncherError(
                    f"no Ray cluster at {self._address!r} ({error}); start one with `ray start --head`, name one with "
                    "address='host:6379', or take address='local' for a fresh one that ends with this process"
                ) from error
        return ray
