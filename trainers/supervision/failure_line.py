"""The line in which each supervisor of a group says which member failed and why: written and read here alone."""

from __future__ import annotations

import contextlib
import os
import shutil

__all__ = ["failure_in", "failure_line", "full_disk"]

_MARK = "the training failed: "
_LEAST_BYTES = 1 << 16  # with less no log says its reason, and no checkpoint is written


def failure_line(reason: str) -> str:
    """Returns the line for a reason, "worker 1: ValueError: ..."."""
    return f"{_MARK}{reason}"


def failure_in(log: str) -> str | None:
    """Returns the reason of the last such line of a log, None where there is none."""
    found = [line.partition(_MARK)[2] for line in log.splitlines() if _MARK in line]
    return found[-1] if found else None


def full_disk(directory: str | os.PathLike[str]) -> str:
    """Returns "; no room is left ..." where the file system of a directory is full, so that logs there cannot say it; else nothing."""
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(directory).free
        if free < _LEAST_BYTES:
            return f"; no room is left on the file system of {os.fspath(directory)} ({free:,} bytes): make room, or write elsewhere"
    return ""
