"""What becomes of a group of workers: a pure state machine, no sockets, no clock, no processes.

A generation is one life of the whole group. It starts only when every member has said that it has no child process
left, so no worker of an older generation can still write or connect; it ends when one member fails, and then all stop
and join anew. Members named independent (workers of a parameter-server training) are restarted alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from engine.core import exit_codes

__all__ = ["Action", "GroupPolicy", "GroupState"]


@dataclass(frozen=True, kw_only=True)
class GroupPolicy:
    """How patient a group is.

    Args:
        max_restarts: restarts of the group in all.
        max_failures_in_a_row: failures without a new commit between them after which it gives up.
        backoff_s: wait before the second restart in a row; doubled each time, the first restart is at once.
        max_backoff_s: longest wait.
        silent_after_s: a member or child not heard of for so long is taken for dead.
        rejoin_timeout_s: how long the others wait for a member that is gone.
    """

    max_restarts: int = 100
    max_failures_in_a_row: int = 5
    backoff_s: float = 1.0
    max_backoff_s: float = 30.0
    silent_after_s: float = 8.0
    rejoin_timeout_s: float = 600.0


@dataclass(frozen=True)
class Action:
    """A message to one member: start, stop, done or failed, with its fields."""

    rank: int
    message: dict[str, Any]


@dataclass
class _Member:
    # absent: no connection; ready: joined, has no child; running; stopping: asked to stop; finished: its child is done.
    state: str = "absent"
    heard_at: float = 0.0
    absent_since: float = 0.0
    reason: str = ""


@dataclass(kw_only=True)
class GroupState:
    """The members and what they do.

    Args:
        num_members: size of the group; a generation needs all of them.
        policy: patience.
        independent: ranks whose failure stops nobody else.
        leaders: ranks whose children must end for the training to be done; all ranks where empty.
        names: what the members are called in messages, e.g. "worker 1".
        now: current time, seconds of any monotonic clock.
    """

    num_members: int
    policy: GroupPolicy = dataclasses.field(default_factory=GroupPolicy)
    independent: Collection[int] = ()
    leaders: Collection[int] = ()
    names: tuple[str, ...] = ()
    now: float = 0.0
    generation: int = 0
    restarts: int = 0
    outcome: str | None = None
    reason: str = ""
    step: int = 0
    committed: int = -1
    _failures_in_a_row: int = 0
    _committed_at_failure: int = -1
    _not_before: float = 0.0
    _running: bool = False
    _members: dict[int, _Member] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._members = {rank: _Member(absent_since=self.now) for rank in range(self.num_members)}
        self.leaders = set(self.leaders) or set(range(self.num_members))

    def joined(self, rank: int, generation: int, now: float) -> list[Action]:
        """A member has (again) no child and waits; `generation` is the last one it knows of."""
        member = self._heard(rank, now)
        if self.outcome is not None:
            return [self._ending(rank)]
        was = member.state
        member.state = "ready"
        self.generation = max(self.generation, generation)
        if self._running and rank in self.independent:
            return self._start(rank)
        if self._running and was in ("running", "finished"):
            # A supervisor that was started anew has no child of this generation: the others cannot go on without it.
            return self._regroup(rank, "its supervisor was started again", penalty=True)
        return self._started(now)

    def beat(self, rank: int, now: float, step: int | None = None, committed: int | None = None) -> list[Action]:
        """A member is alive; its child has made `step`, has committed `committed`."""
        self._heard(rank, now)
        self.step = max(self.step, step or 0)
        if committed is not None and committed > self.committed:
            self.committed = committed
        return []

    def exited(self, rank: int, generation: int, code: int, reason: str, now: float) -> list[Action]:
        """The child of a member has ended."""
        member = self._heard(rank, now)
        if generation != self.generation or not self._running or self.outcome is not None:
            return []
        if code == 0:
            member.state = "finished"
            finished = all(self._members[r].state == "finished" for r in self.leaders)
            return self._finish("done", "") if finished else []
        member.reason = reason
        if code in exit_codes.FINAL:
            return self._finish("failed", f"{self._name(rank)}: {reason}", code)
        if rank in self.independent:
            member.state = "stopping"
            return self._count_failure(rank, reason)
        return self._regroup(rank, reason, penalty=code != exit_codes.PREEMPTED)

    def lost(self, rank: int, now: float, reason: str, penalty: bool = True) -> list[Action]:
        """The connection to a member is gone."""
        member = self._members[rank]
        was, member.state, member.absent_since = member.state, "absent", now
        if self.outcome is not None or not self._running or was in ("absent", "stopping"):
            return []
        if rank in self.independent:
            return []
        return self._regroup(rank, reason, penalty)

    def tick(self, now: float) -> tuple[list[Action], list[int]]:
        """Time has passed. Returns (messages, ranks that fell silent: close their connections)."""
        silent, actions = [], []
        for rank, member in self._members.items():
            if member.state != "absent" and now - member.heard_at > self.policy.silent_after_s:
                silent.append(rank)
                actions += self.lost(rank, now, f"silent for {now - member.heard_at:.0f} s")
        if self.outcome is None:
            for rank, member in self._members.items():
                if member.state == "absent" and now - member.absent_since > self.policy.rejoin_timeout_s:
                    waited = f"{self._name(rank)} did not join within {self.policy.rejoin_timeout_s:.0f} s"
                    actions += self._finish("failed", waited + self._because(member), 1)
                    break
            actions += self._started(now)
        return actions, silent

    def _heard(self, rank: int, now: float) -> _Member:
        self.now = now
        member = self._members[rank]
        member.heard_at = now
        return member

    def _name(self, rank: int) -> str:
        return self.names[rank] if rank < len(self.names) else f"member {rank}"

    def _because(self, member: _Member) -> str:
        return f"; it failed before: {member.reason}" if member.reason else ""

    def _started(self, now: float) -> list[Action]:
        everyone = all(m.state == "ready" for m in self._members.values())
        if self._running or not everyone or now < self._not_before:
            return []
        self.generation += 1
        self._running = True
        return [action for rank in self._members for action in self._start(rank)]

    def _start(self, rank: int) -> list[Action]:
        self._members[rank].state = "running"
        return [Action(rank, {"do": "start", "generation": self.generation})]

    def _regroup(self, rank: int, reason: str, penalty: bool) -> list[Action]:
        if penalty:
            ending = self._count_failure(rank, reason)
            if ending:
                return ending
        self._running = False
        actions = []
        for other, member in self._members.items():
            if member.state in ("running", "finished"):
                if other != rank:
                    actions.append(Action(other, {"do": "stop", "reason": f"{self._name(rank)}: {reason}"}))
                member.state = "stopping"
        return actions

    def _count_failure(self, rank: int, reason: str) -> list[Action]:
        policy = self.policy
        self.restarts += 1
        progressed = self.committed > self._committed_at_failure
        self._failures_in_a_row = 1 if progressed else self._failures_in_a_row + 1
        self._committed_at_failure = self.committed
        said = f"{self._name(rank)}: {reason}"
        if self._failures_in_a_row > policy.max_failures_in_a_row:
            return self._finish(
                "failed", f"{self._failures_in_a_row} failures in a row without a new checkpoint, the last: {said}", 1
            )
        if self.restarts > policy.max_restarts:
            return self._finish("failed", f"more than {policy.max_restarts} restarts, the last after: {said}", 1)
        wait = 0.0 if self._failures_in_a_row < 2 else policy.backoff_s * 2 ** (self._failures_in_a_row - 2)
        self._not_before = self.now + min(wait, policy.max_backoff_s)
        return []

    def _finish(self, outcome: str, reason: str, code: int = 0) -> list[Action]:
        self.outcome, self.reason, self._running = outcome, reason, False
        self._code = code
        return [self._ending(rank) for rank, member in self._members.items() if member.state != "absent"]

    def _ending(self, rank: int) -> Action:
        if self.outcome == "done":
            return Action(rank, {"do": "done"})
        return Action(rank, {"do": "failed", "reason": self.reason, "code": self._code})
