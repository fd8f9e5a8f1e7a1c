"""Waiting for something that will be so, without a fixed sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["eventually"]

T = TypeVar("T")


def eventually(
    holds: Callable[[], T],
    what: str,
    timeout_s: float = 60.0,
    poll_s: float = 0.02,
    *,
    unless: Callable[[], object] = lambda: None,
) -> T:
    """Returns the first true value of `holds`.

    Args:
        holds: looks whether it is so.
        what: is waited for, in words.
        timeout_s: how long at most.
        poll_s: between two looks.
        unless: looks for what may not come before it, and with which waiting on makes no sense: the end of a process, say.

    Raises:
        AssertionError: it was false for `timeout_s` seconds, or `unless` was true before; the message names `what`.
    """
    until = time.monotonic() + timeout_s
    while True:
        # In this order: what was so at the last moment before the end counts.
        early = unless()
        value = holds()
        if value:
            return value
        if early:
            raise AssertionError(f"{early!r:.3000} came before it was so that {what}")
        if time.monotonic() > until:
            raise AssertionError(f"after {timeout_s:.0f} s it is still not so that {what}")
        time.sleep(poll_s)
