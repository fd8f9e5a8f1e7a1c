"""The trainer's side of the line to its supervisor: heartbeats, phases, steps, commits."""

from __future__ import annotations

import socket
import threading
import time

from engine.core.environment import SUPERVISOR
from trainers.rendezvous.json_lines import LineConnection

__all__ = ["Link", "current_link"]

_BEAT_S = 1.0


class Link:
    """Sends lines of JSON to the supervisor; does nothing where there is none.

    A thread sends a heartbeat every second: a process that is stopped (SIGSTOP, a frozen machine) falls silent.
    """

    def __init__(self, address: str | None) -> None:
        self._line: LineConnection | None = None
        if address:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(address)
            self._line = LineConnection(connection)
            threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    @property
    def supervised(self) -> bool:
        """Whether there is a supervisor."""
        return self._line is not None

    def send(self, **message: object) -> None:
        """Sends one message; a supervisor that is gone is not the trainer's business."""
        if self._line is not None:
            self._line.send(message)

    def phase(self, name: str) -> None:
        """Tells that a part of the start is done: imported, connected, built, restored, stepped.

        With the wall clock goes the processor time of this process so far, which a busy machine does not stretch.
        """
        self.send(phase=name, at=time.time(), cpu_s=time.process_time())

    def _beat(self) -> None:
        while True:
            self.send(beat=1)
            time.sleep(_BEAT_S)


_link: Link | None = None


def current_link() -> Link:
    """Returns this process's line to its supervisor."""
    global _link
    if _link is None:
        _link = Link(SUPERVISOR.read())
    return _link
