"""A share of the requests as lines of JSON on the standard error output."""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

__all__ = ["AccessLog"]


class AccessLog:
    """Writes a line for a share of the requests; 0 writes none.

    Args:
        share: 0 to 1.
        out: where to; the process's standard error output if None.
    """

    def __init__(self, share: float, out: Any = None) -> None:
        self._share, self._out = share, out

    def note(self, model: str, status: str, *, version: int | None = None, rows: int = 0, seconds: float = 0.0) -> None:
        """Writes the line of a request if its turn comes up; names and numbers alone, never what was in the request."""
        if not self._share or random.random() >= self._share:  # noqa: S311 - a share of requests
            return
        line = {
            "time": round(time.time(), 3),
            "model": model,
            "version": version,
            "status": status,
            "rows": rows,
            "ms": round(1000 * seconds, 3),
        }
        # One write: lines of several processes must not mix.
        (self._out or sys.stderr).write(json.dumps(line) + "\n")
