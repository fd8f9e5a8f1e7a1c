"""The one clock: times that are stored or shown are UTC and say so, so that machines in two time zones agree on an order."""

from __future__ import annotations

import datetime

__all__ = ["seconds_since", "shown", "utc_now"]

_CLOCKS_DIFFER_S = 1  # more than machines whose clocks are synchronised differ by


def utc_now() -> str:
    """Returns the time now in UTC to the second, ISO 8601, e.g. "2026-11-26T15:36:02+00:00"."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def seconds_since(moment: str) -> int:
    """Returns whole seconds from an RFC 3339 time in UTC to now, rounded up, and one more for clocks that differ."""
    then = datetime.datetime.fromisoformat(moment[:19] + "+00:00")
    return int((datetime.datetime.now(datetime.timezone.utc) - then).total_seconds()) + 1 + _CLOCKS_DIFFER_S


def shown(moment: str) -> str:
    """Returns a time of `utc_now` as people read it, e.g. "2026-11-26 15:36:02 UTC"."""
    return moment.replace("T", " ").replace("+00:00", " UTC")
