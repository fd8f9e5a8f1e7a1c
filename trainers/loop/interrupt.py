"""SIGTERM or Ctrl-C during training: noticed, and answered with a save at the next boundary of a call."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

from engine.core.exit_codes import INTERRUPTED, PREEMPTED
from engine.core.run_log import print_line

__all__ = ["Preempted", "StopRequest"]


class Preempted(SystemExit):
    """The training was asked to stop, saved its state, and goes on from there when started again."""

    def __init__(self, step: int, code: int = PREEMPTED) -> None:
        super().__init__(code)
        self.step = step


class StopRequest:
    """Within the context SIGTERM and Ctrl-C set `requested` and do nothing else; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self.exit_code = PREEMPTED
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            # A program that is started in the background ignores Ctrl-C, and shall go on doing so.
            own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            numbers = [signal.SIGTERM, *([signal.SIGINT] if own else [])]
            self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def listen(self) -> None:
        """Takes the signals again: TensorFlow's coordination service takes SIGTERM when it starts."""
        if self._before and not self.requested:
            for number in self._before:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if number == signal.SIGINT:
            self.exit_code = INTERRUPTED
            signal.signal(signal.SIGINT, signal.default_int_handler)
            print_line("stops and saves after this call; Ctrl-C again stops at once", sys.stderr)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
