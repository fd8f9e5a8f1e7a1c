"""One process of a local job, with its log, its restarts and its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection

from cluster.launchers.status import JobState, TaskStatus
from engine.machine.logged_process import LoggedProcess
from engine.machine.processes import process_mark

__all__ = ["Member"]

_LAST_LINES = 10


class Member:
    """A role's process; started again when it fails.

    Args:
        role: of the process.
        index: within the role.
        process: its program, not yet started.
        program: name of it, for errors.
        max_restarts: failures after which it has failed.
        final: exit codes after which it is not started again.
    """

    def __init__(
        self, role: str, index: int, process: LoggedProcess, program: str, max_restarts: int, final: Collection[int]
    ) -> None:
        self.role, self.index, self.process = role, index, process
        self._program, self._max_restarts, self._final = program, max_restarts, frozenset(final)
        self._restarts = 0
        self._start_at = 0.0
        self.state = JobState.PENDING
        self.message = ""

    def start(self) -> None:
        """Starts the process."""
        try:
            self.process.start()
        except OSError as error:
            self.state, self.message = JobState.FAILED, f"cannot start {self._program}: {error.strerror}"
            return
        self.state = JobState.RUNNING

    def look(self) -> None:
        """Brings the state up to date; starts the process again where that is due."""
        if self.state is JobState.RESTARTING and time.monotonic() >= self._start_at:
            self.start()
            return
        code = self.process.poll() if self.state is JobState.RUNNING else None
        if code is None:
            return
        if code == 0:
            self.state, self.message = JobState.SUCCEEDED, ""
            return
        self.message = f"{_ended(code)}; its last lines: {self._last_lines()}"
        if code in self._final or self._restarts >= self._max_restarts:
            self.state = JobState.FAILED
            return
        self._restarts += 1
        self._start_at = time.monotonic() + min(2.0 ** (self._restarts - 1), 30.0)
        self.state = JobState.RESTARTING

    def end(self) -> None:
        """Notes that the process was stopped where it had not ended by itself."""
        if not self.state.finished:
            self.state = JobState.CANCELLED

    def mark(self) -> str | None:
        """Returns the mark of the running process."""
        return process_mark(self.process.pid) if self.process.running and self.process.pid is not None else None

    def status(self) -> TaskStatus:
        """Returns the state for others."""
        where = f"pid {self.process.pid}" if self.process.pid is not None else ""
        return TaskStatus(
            role=self.role,
            index=self.index,
            state=self.state,
            restarts=self._restarts,
            where=where,
            message=self.message,
        )

    def _last_lines(self) -> str:
        lines = self.process.output(last_bytes=8192).strip().splitlines()
        return " | ".join(line.strip() for line in lines[-_LAST_LINES:]) or "(none)"


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
