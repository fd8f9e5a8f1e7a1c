"""One process of a local job, with its log, its restarts and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from cluster.launchers.local.record import log_path
from cluster.launchers.status import JobState, TaskStatus
from engine.machine.processes import kill_tree, process_mark

__all__ = ["Member"]

_LAST_LINES = 10


class Member:
    """A role's process; started again when it fails.

    Args:
        folder: of the job.
        role: of the process.
        index: within the role.
        words: command line.
        env: its whole environment.
        cwd: directory to start in.
        max_restarts: failures after which it has failed.
        final: exit codes after which it is not started again.
    """

    def __init__(
        self,
        folder: Path,
        role: str,
        index: int,
        words: list[str],
        env: dict[str, str],
        cwd: str | None,
        max_restarts: int,
        final: Collection[int],
    ) -> None:
        self.role, self.index = role, index
        self._log = log_path(folder, role, index)
        self._words, self._env, self._cwd, self._max_restarts = words, env, cwd, max_restarts
        self._final = frozenset(final)
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = 0
        self._start_at = 0.0
        self._log_start = 0  # bytes that earlier starts have written
        self.state = JobState.PENDING
        self.message = ""

    def start(self) -> None:
        """Starts the process."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with open(self._log, "ab") as log:
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                )
            except OSError as error:
                self.state, self.message = JobState.FAILED, f"cannot start {self._words[0]}: {error.strerror}"
                return
        self.state = JobState.RUNNING

    def look(self) -> None:
        """Brings the state up to date; starts the process again where that is due."""
        if self.state is JobState.RESTARTING and time.monotonic() >= self._start_at:
            self.start()
            return
        code = self._process.poll() if self._process and self.state is JobState.RUNNING else None
        if code is None:
            return
        self._kill_rest()  # now: later another process may have this number
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

    def ask_to_stop(self) -> None:
        """Sends SIGTERM; the process may save first."""
        if self._process and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def stopped(self) -> bool:
        """Returns whether the process has ended."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """Ends the process and all that it started, now."""
        if self._process and self._process.poll() is None:
            self._kill_rest()
            self._process.wait()
        if not self.state.finished:
            self.state = JobState.CANCELLED

    def mark(self) -> str | None:
        """Returns the mark of the running process."""
        return None if self.stopped() or self._process is None else process_mark(self._process.pid)

    def status(self) -> TaskStatus:
        """Returns the state for others."""
        where = f"pid {self._process.pid}" if self._process else ""
        return TaskStatus(
            role=self.role,
            index=self.index,
            state=self.state,
            restarts=self._restarts,
            where=where,
            message=self.message,
        )

    def _kill_rest(self) -> None:
        if self._process:
            kill_tree(self._process.pid)

    def _last_lines(self) -> str:
        with open(self._log, "rb") as log:
            log.seek(max(self._log_start, os.fstat(log.fileno()).st_size - 8192))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-_LAST_LINES:]) or "(none)"


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
