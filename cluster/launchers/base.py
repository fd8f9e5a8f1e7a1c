"""The verbs that every launcher has."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cluster.launchers.log_query import LogQuery
from cluster.launchers.status import JobStatus, LogLine
from cluster.spec import JobSpec
from engine.core.errors import FullpassError

__all__ = ["ConnectionLost", "JobHandle", "JobNotFound", "Launcher", "LauncherError"]


class LauncherError(FullpassError):
    """The place where the job should run said no; the message says what, why and what to do."""


class JobNotFound(LauncherError):
    """No job of that name."""


class ConnectionLost(LauncherError):
    """The place cannot be reached just now; the job may well go on."""


class Launcher(abc.ABC):
    """A place where jobs run. Options are keyword arguments of each launcher's constructor.

    Attributes:
        name: as in the registry, with the kind where there are several: "kubernetes/job".
        patience_s: how long a place may be out of reach before following or waiting gives up.
        ends_with_process: whether jobs end when the process that submitted them does.
    """

    name: str
    patience_s: float = 300.0
    ends_with_process: bool = False

    @abc.abstractmethod
    def render(self, spec: JobSpec) -> list[dict[str, Any]]:
        """Returns what `submit` would create, as JSON-able objects; touches nothing."""

    @abc.abstractmethod
    def submit(self, spec: JobSpec, *, dry_run: bool = False) -> JobHandle:
        """Starts the job and returns its handle.

        Args:
            spec: the job.
            dry_run: ask the place to check everything and start nothing.

        Raises:
            LauncherError: refused; nothing of the job is left.
        """

    @abc.abstractmethod
    def status(self, name: str) -> JobStatus:
        """Returns the state of a job.

        Raises:
            JobNotFound: there is none of that name.
        """

    def logs(
        self,
        name: str,
        *,
        follow: bool = False,
        role: str | None = None,
        index: int | None = None,
        tail: int | None = None,
    ) -> Iterator[LogLine]:
        """Yields the lines of all members, or of those asked for.

        Args:
            name: of the job.
            follow: go on until the job has finished; a lost connection is taken up again.
            role: only members of this role.
            index: only the member with this index.
            tail: only the last lines of each member.

        Raises:
            ConfigError: `tail` is negative, or the job has no such member (Kubernetes: its pods may be yet to come).
            JobNotFound: there is no job of that name.
        """
        return self.lines(name, LogQuery(follow=follow, role=role, index=index, tail=tail))

    @abc.abstractmethod
    def lines(self, name: str, query: LogQuery) -> Iterator[LogLine]:
        """Yields the lines that are asked for; as `logs`, with its options as one object."""

    @abc.abstractmethod
    def cancel(self, name: str) -> None:
        """Stops a job and removes everything that it made. A job that has finished is only removed."""

    @abc.abstractmethod
    def list(self) -> list[JobStatus]:
        """Returns the jobs of this place, the newest first."""

    def wait(
        self,
        name: str,
        *,
        timeout_s: float | None = None,
        on_change: Callable[[JobStatus], None] | None = None,
        poll_s: float = 2.0,
    ) -> JobStatus:
        """Returns the state of the job when it has finished.

        Args:
            name: of the job.
            timeout_s: give up after this many seconds; the job goes on.
            on_change: gets each state that differs from the one before.
            poll_s: seconds between two looks.

        Raises:
            TimeoutError: it has not finished in time.
            ConnectionLost: the place was out of reach for longer than `patience_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        last = None
        reached = time.monotonic()
        while True:
            try:
                status = self.status(name)
                reached = time.monotonic()
            except ConnectionLost:
                if time.monotonic() - reached > self.patience_s:
                    raise
                time.sleep(poll_s)
                continue
            seen = (status.state, status.message, tuple((t.state, t.restarts, t.message) for t in status.tasks))
            if on_change and seen != last:
                on_change(status)
            last = seen
            if status.state.finished:
                return status
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{name} is still {status.state.value} after {timeout_s:.0f} s; the job goes on")
            time.sleep(poll_s)


@dataclass(frozen=True)
class JobHandle:
    """A submitted job.

    Attributes:
        launcher: that runs it.
        name: its name there.
    """

    launcher: Launcher
    name: str

    def status(self) -> JobStatus:
        """Returns its state."""
        return self.launcher.status(self.name)

    def logs(self, **options: Any) -> Iterator[LogLine]:
        """Yields its lines; options as of `Launcher.logs`."""
        return self.launcher.logs(self.name, **options)

    def wait(self, **options: Any) -> JobStatus:
        """Returns its state when it has finished; options as of `Launcher.wait`."""
        return self.launcher.wait(self.name, **options)

    def cancel(self) -> None:
        """Stops it and removes everything that it made."""
        self.launcher.cancel(self.name)
