"""The training process of one supervisor: forked from a standby, watched over its heartbeats, killed when it must go."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from typing import Any

from engine.core.environment import SUPERVISOR
from engine.core.own_packages import module_words
from engine.machine.cgroup import read_group_memory
from engine.machine.short_directory import short_directory
from trainers.rendezvous.json_lines import LineConnection

__all__ = ["Child"]


class Child:
    """One process at a time, started again and again from a standby that has its imports done.

    Args:
        target: what it runs, see `run_target`.
        log: file its output is appended to, or None for this process's own.
        events: gets ("child", message) for what the child says, ("exited", (code, reason)) when it has ended.
        preload: modules the standby imports.
    """

    def __init__(self, target: list[str], log: str | None, events: queue.Queue[tuple[str, Any]], preload: list[str]):
        self._target, self._log, self._events, self._preload = target, log, events, preload
        self._folder = short_directory("link")
        self._address = os.path.join(self._folder.name, "link")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self._address)
        self._listener.listen()
        self._standby: subprocess.Popen[bytes] | None = None
        self._line: LineConnection | None = None
        self.pid: int | None = None
        self.heard_at = 0.0
        self.settled = False  # it has made a step: restoring and tracing, which may hold the interpreter, are over
        self.ready = False  # the standby has its imports done
        self.failed_imports = 0  # standby processes in a row that ended before that
        self._error = ""
        self._killed_for = ""
        self._memory_kills = 0
        self._wanted: dict[str, str] | None = None

    def prepare(self) -> None:
        """Starts the standby if none is there."""
        if self._standby is not None and self._standby.poll() is None:
            return
        self.ready = False
        ours, theirs = socket.socketpair()
        command = module_words("trainers.supervision.standby", str(theirs.fileno()), *self._preload)
        self._standby = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        standby = self._standby
        self._line = LineConnection(ours, self._events_of_standby, lambda: self._events.put(("standby-gone", standby)))
        self._line.start()

    def start(self, env: dict[str, str]) -> None:
        """Starts the child as soon as the standby is ready; ("exited", ...) comes when it has ended."""
        self.prepare()
        self._error = self._killed_for = ""
        self._memory_kills = memory.kills if (memory := read_group_memory()) else 0
        self.settled = False
        self.heard_at = time.monotonic() + 60.0  # a standby that died since it was ready has its imports to do again
        self._wanted = env
        assert self._line is not None
        self._line.send(
            {"start": {"env": {**env, SUPERVISOR.name: self._address}, "argv": self._target, "log": self._log}}
        )

    def _events_of_standby(self, message: dict[str, Any]) -> None:
        self._events.put(("standby", message))

    def handle_standby(self, message: dict[str, Any]) -> tuple[int, str] | None:
        """Takes a message of the standby in; returns (code, reason) when it says that the child has ended."""
        if "imported_s" in message:
            self.ready, self.failed_imports = True, 0
        if "status" in message:
            if message["pid"] != self.pid:
                return None
            self.pid = self._wanted = None
            return self._ending(message["status"])
        if "pid" in message:
            self.pid = message["pid"]
            self.heard_at = time.monotonic() + 5.0
            self._accept()
            if self._killed_for:
                self._signal(signal.SIGKILL)
        return None

    def standby_gone(self, which: Any) -> tuple[int, str] | None:
        """The standby has ended, and its children with it."""
        if which is not self._standby:
            return None
        self._standby.wait()
        self._standby = None
        self.failed_imports += not self.ready
        self.ready = False
        had, self.pid, self._wanted = self._wanted is not None, None, None
        return (1, self._killed_for or self._error or "its standby process has ended") if had else None

    def _accept(self) -> None:
        pid = self.pid

        def take() -> None:
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                LineConnection(
                    connection, lambda m: self._events.put(("child", {**m, "pid": pid})), lambda: None
                ).start()

        threading.Thread(target=take, daemon=True, name="child-accept").start()

    def said(self, message: dict[str, Any]) -> None:
        """Takes a message of the child in."""
        if message.get("pid") == self.pid:
            self.heard_at = max(self.heard_at, time.monotonic())
            self._error = message.get("error", self._error)
            self.settled = self.settled or message.get("phase") == "stepped"

    @property
    def running(self) -> bool:
        """Whether a child is there or about to be."""
        return self._wanted is not None

    def kill(self, reason: str) -> None:
        """Kills the child; ("exited", ...) follows."""
        self._killed_for = reason
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Asks the child to save and stop."""
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _ending(self, status: int) -> tuple[int, str]:
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            return 128 + number, self._killed_for or self._killed_by(number)
        code = os.WEXITSTATUS(status)
        return code, self._error or f"exit code {code}"

    def _killed_by(self, number: int) -> str:
        text = f"killed by signal {number} ({signal.Signals(number).name})"
        memory = read_group_memory() if number == signal.SIGKILL else None
        if memory is None or memory.kills <= self._memory_kills:
            return text
        return f"out of memory, {text}: {memory}"

    def close(self) -> None:
        """Ends child and standby."""
        self._signal(signal.SIGKILL)
        if self._standby is not None:
            self._standby.kill()
            self._standby.wait()
        self._listener.close()
        self._folder.cleanup()
