"""Which lines of a job's logs are asked for: one meaning of the options of `logs` on every launcher."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cluster.launchers.status import TaskStatus
from engine.core.errors import ConfigError

__all__ = ["LogQuery", "split_log"]

_Line = TypeVar("_Line")


@dataclass(frozen=True, kw_only=True)
class LogQuery:
    """The lines of all members, or of those asked for.

    Attributes:
        follow: go on until the job has finished; a lost connection is taken up again.
        role: only members of this role.
        index: only the member with this index.
        tail: only the last lines of each member, and what it writes from then on.
    """

    follow: bool = False
    role: str | None = None
    index: int | None = None
    tail: int | None = None

    def __post_init__(self) -> None:
        if self.tail is not None and self.tail < 0:
            raise ConfigError(f"tail = {self.tail}: expected a whole number from 0")

    def wants(self, role: str, index: int) -> bool:
        """Returns whether a member's lines are asked for."""
        return self.role in (None, role) and self.index in (None, index)

    def members(self, job: str, tasks: Iterable[TaskStatus]) -> list[tuple[str, int]]:
        """Returns (role, index) of the members asked for.

        Args:
            job: name of the job, for the message.
            tasks: all members of the job.

        Raises:
            ConfigError: the job has no such member.
        """
        there = [(task.role, task.index) for task in tasks]
        found = [member for member in there if self.wants(*member)]
        if there and not found:
            asked = f"{self.role or '*'}-{'*' if self.index is None else self.index}"
            raise ConfigError(
                f"{job} has no member {asked}; its members: {', '.join(f'{role}-{index}' for role, index in there)}"
            )
        return found

    def last(self, lines: Sequence[_Line]) -> Sequence[_Line]:
        """Returns the last `tail` of a member's lines; all where `tail` is not set."""
        return lines if self.tail is None else lines[max(0, len(lines) - self.tail) :]


def split_log(data: bytes) -> list[str]:
    """Returns the lines of a log.

    Line feeds and carriage returns end a line; `str.splitlines` would also cut a text in two at U+2028. In a pod's log, whose lines
    have their times from the container's runtime, only line feeds do.
    """
    return [line.decode(errors="replace") for line in data.splitlines()]
