"""Waiting for something that will be so, without a fixed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["eventually"]

T = TypeVar("T")


def eventually(holds: Callable[[], T], what: str, timeout_s: float = 60.0, poll_s: float = 0.02) -> T:
    """Returns the first true value of `holds`.

    Raises:
        AssertionError: it was false for `timeout_s` seconds; the message names `what`.
    """
    until = time.monotonic() + timeout_s
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"after {timeout_s:.0f} s it is still not so that {what}")
        time.sleep(poll_s)
