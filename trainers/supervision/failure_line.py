"""The line in which each supervisor of a group says which member failed and why: written and read here alone."""

from __future__ import annotations

__all__ = ["failure_in", "failure_line"]

_MARK = "the training failed: "


def failure_line(reason: str) -> str:
    """Returns the line for a reason, "worker 1: ValueError: ..."."""
    return f"{_MARK}{reason}"


def failure_in(log: str) -> str | None:
    """Returns the reason of the last such line of a log, None where there is none."""
    found = [line.partition(_MARK)[2] for line in log.splitlines() if _MARK in line]
    return found[-1] if found else None
