"""A program in a session of its own, whose output goes to a file, and that is ended with all that it started."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.machine.private_files import private
from engine.machine.processes import die_with_parent, kill_tree

__all__ = ["LoggedProcess", "await_all", "stop_all"]

_LOOK_S = 0.05


class LoggedProcess:
    """A program that can be started again; its output is appended to one file.

    It leads a session of its own, so that an interrupt on the terminal does not reach it past whoever started it.

    Args:
        words: command line.
        log: file of its output; its directory is made.
        env: its whole environment.
        cwd: directory to start in; None for this process's own.
        hold_stdin: keep its standard input open until it is killed: it sees the end of it when this process dies.
        dies_with_us: the kernel kills it when this process dies.
    """

    def __init__(
        self,
        words: Sequence[str],
        log: Path,
        env: Mapping[str, str],
        *,
        cwd: str | None = None,
        hold_stdin: bool = False,
        dies_with_us: bool = False,
    ) -> None:
        self._words, self._log, self._env, self._cwd = list(words), log, dict(env), cwd
        self._stdin = subprocess.PIPE if hold_stdin else subprocess.DEVNULL
        self._dies_with_us = dies_with_us
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0  # bytes that earlier starts have written

    def start(self) -> int:
        """Starts the program and returns its process id.

        Raises:
            OSError: there is no such program, or it cannot be started.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._close_stdin()
        with open(self._log, "ab", opener=private) as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(
                self._words,
                stdin=self._stdin,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()) if self._dies_with_us else None,
            )
        return self._process.pid

    @property
    def pid(self) -> int | None:
        """Process id of the last start; None before the first."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self.poll() is None

    def poll(self) -> int | None:
        """Returns the exit code, negative for a signal; None while it runs and before it was started.

        What an ended program has left behind in its session is killed: now, since later another may have its number.
        """
        if self._process is None or self._process.returncode is not None:
            return None if self._process is None else self._process.returncode
        code = self._process.poll()
        if code is not None:
            kill_tree(self._process.pid)
        return code

    def output(self, last_bytes: int) -> str:
        """Returns the end of what it has written since its last start."""
        with open(self._log, "rb") as log:
            log.seek(max(self._log_begins, os.fstat(log.fileno()).st_size - last_bytes))
            return log.read().decode(errors="replace")

    def terminate(self) -> None:
        """Sends SIGTERM; the program may save first."""
        if self.running and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the program and all that it started, now."""
        if self.running and self._process is not None:
            kill_tree(self._process.pid)
            self._process.wait()
        self._close_stdin()

    def _close_stdin(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def await_all(processes: Sequence[LoggedProcess], seconds: float) -> None:
    """Waits until none of them runs, no longer than `seconds`."""
    until = time.monotonic() + seconds
    while any(process.running for process in processes) and time.monotonic() < until:
        time.sleep(_LOOK_S)


def stop_all(processes: Sequence[LoggedProcess], grace_s: float) -> None:
    """Sends SIGTERM to all, waits until they have ended, and kills those that have not after `grace_s`."""
    for process in processes:
        process.terminate()
    await_all(processes, grace_s)
    for process in processes:
        process.kill()
