"""State of a submitted job, the same on every launcher."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from cluster.spec.job_spec import ROLES

__all__ = ["JobState", "JobStatus", "LogLine", "TaskStatus"]

# A line that is empty may have lost the space before its text on its way.
_SHOWN_LINE = re.compile(rf"\[({'|'.join(ROLES)})-(\d+)\] ?(.*)")


class JobState(str, Enum):
    """Where a job is in its life."""

    QUEUED = "queued"  # suspended until a queue admits it
    PENDING = "pending"  # not every pod runs yet
    RUNNING = "running"
    RESTARTING = "restarting"  # a member is being replaced
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class TaskStatus:
    """One member of a job.

    Attributes:
        role: chief, worker, ps or evaluator.
        index: within the role, from 0.
        state: of this member.
        restarts: how often it was started again.
        where: pod, process or actor that it is.
        message: what is wrong with it, and what to do; empty where nothing is.
    """

    role: str
    index: int
    state: JobState
    restarts: int = 0
    where: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """A job at one moment.

    Attributes:
        name: of the job.
        launcher: that runs it, e.g. "kubernetes/job".
        state: of the whole.
        message: why it waits or failed, and what to do; empty where there is nothing to say.
        tasks: its members, in the order of their ranks.
        submitted: time of submission, ISO 8601.
        finished: time of the end, ISO 8601, or empty.
    """

    name: str
    launcher: str
    state: JobState
    message: str = ""
    tasks: tuple[TaskStatus, ...] = ()
    submitted: str = ""
    finished: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-able dict."""
        return {
            **asdict(self),
            "state": self.state.value,
            "tasks": [{**asdict(t), "state": t.state.value} for t in self.tasks],
        }


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line that a member wrote.

    Attributes:
        role: of the member.
        index: of the member.
        text: the line without its end.
    """

    role: str
    index: int
    text: str

    def __str__(self) -> str:
        return f"[{self.role}-{self.index}] {self.text}"

    @staticmethod
    def parse(text: str) -> LogLine | None:
        """Returns the line that `str` made the text of, or None where it is another text."""
        found = _SHOWN_LINE.fullmatch(text)
        return None if found is None else LogLine(role=found[1], index=int(found[2]), text=found[3])
