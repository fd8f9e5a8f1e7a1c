"""Files that their owner alone may read: descriptions with values of variables, and what programs write to their logs."""

from __future__ import annotations

import os

__all__ = ["PRIVATE", "private"]

PRIVATE = 0o600


def private(path: str, flags: int) -> int:
    """Opens a file that its owner alone may read: `opener` of `open`."""
    return os.open(path, flags, PRIVATE)
