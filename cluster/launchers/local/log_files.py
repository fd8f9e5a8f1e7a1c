"""Lines of the log files of a local job's members, as they are written where they are followed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cluster.launchers.log_query import LogQuery, split_log
from cluster.launchers.status import LogLine

__all__ = ["lines_of"]

_POLL_S = 0.2


def lines_of(logs: Mapping[tuple[str, int], Path], query: LogQuery, running: Callable[[], bool]) -> Iterator[LogLine]:
    """Yields the lines of members' logs, and with `query.follow` those to come until the job has ended.

    Args:
        logs: (role, index) of a member to its file, which may be there later only.
        query: how many of the last lines, and whether to follow.
        running: whether the job still runs.
    """
    offsets = dict.fromkeys(logs, 0)
    first = True
    while True:
        # Asked before the files are read: what a job wrote before its end is in them then.
        finished = not query.follow or not running()
        for (role, index), path in logs.items():
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as log:
                log.seek(offsets[role, index])
                data = log.read()
                whole = data if finished else data[: data.rfind(b"\n") + 1]
                offsets[role, index] += len(whole)
                lines = split_log(whole)
                for line in query.last(lines) if first else lines:
                    yield LogLine(role=role, index=index, text=line)
        if finished:
            return
        first = False
        time.sleep(_POLL_S)
