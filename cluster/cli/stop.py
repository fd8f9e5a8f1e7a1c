"""SIGTERM as an end in good order: what a command has half written is removed on its way out."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["exit_on_sigterm"]


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Raises SystemExit(143) in the block where SIGTERM arrives, as Ctrl-C raises KeyboardInterrupt; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
