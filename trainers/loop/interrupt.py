"""SIGTERM during training: noticed, and answered with a save at the next boundary of a call."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from engine.core.exit_codes import PREEMPTED

__all__ = ["Preempted", "StopRequest"]


class Preempted(SystemExit):
    """The training was asked to stop, saved its state, and goes on from there when started again."""

    def __init__(self, step: int) -> None:
        super().__init__(PREEMPTED)
        self.step = step


class StopRequest:
    """Within the context SIGTERM sets `requested` and does nothing else."""

    def __init__(self) -> None:
        self.requested = False
        self._before: Any = None

    def __enter__(self) -> StopRequest:
        self._before = self.listen()
        return self

    def listen(self) -> Any:
        """Takes SIGTERM (again) and returns who had it: TensorFlow's coordination service takes it when it starts."""
        if threading.current_thread() is not threading.main_thread():
            return None
        return signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
