"""Ours and a peer's, timed in turn in one process, so that a busy machine slows both alike. The one owner of pairs and ratios."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

from engine.core.errors import ConfigError

__all__ = ["PairedResult", "Spread", "Timing", "paired", "timed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of some values with the least and the greatest of them."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Returns the spread of the values, of which there is at least one."""
        return cls(median=statistics.median(values), least=min(values), greatest=max(values))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one run: on the clock, and of processor time of all threads and processes that did the work.

    A function given to `paired` may return one, where a process that is not below this one does the work.
    """

    wall_s: float
    cpu_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedResult:
    """Ratios peer time / our time over interleaved pairs; above 1 we are faster.

    Args:
        wall_ratios, cpu_ratios: of each pair, in the order in which they were measured; of seconds a unit of work.
        ours_s, peer_s: median wall seconds of one run of each.
        ours_cpu_s, peer_cpu_s: median processor seconds of one run of each.
    """

    wall_ratios: tuple[float, ...]
    cpu_ratios: tuple[float, ...]
    ours_s: float
    peer_s: float
    ours_cpu_s: float
    peer_cpu_s: float

    @property
    def rounds(self) -> int:
        """Pairs measured."""
        return len(self.wall_ratios)

    @property
    def wall(self) -> Spread:
        """The ratio of wall clock times."""
        return Spread.of(list(self.wall_ratios))

    @property
    def cpu(self) -> Spread:
        """The ratio of processor times, which other programs on the machine disturb less; the ratio of what one core does."""
        return Spread.of(list(self.cpu_ratios))


def paired(
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    rounds: int = 5,
    *,
    ours_size: float = 1.0,
    peer_size: float = 1.0,
    warm_up: bool = True,
) -> PairedResult:
    """Runs ours and the peer in turn and returns the spread of their ratio.

    Processor time is that of this process and of those below it, see `timed`.

    Args:
        ours: does our work once.
        peer: does the same work once, the peer's way.
        rounds: pairs to measure, at least 1.
        ours_size: units of work of one call of `ours`; a slow peer may be given less work than we.
        peer_size: units of work of one call of `peer`.
        warm_up: run each once before, unmeasured.

    Raises:
        ConfigError: rounds is less than 1.
    """
    if rounds < 1:
        raise ConfigError(f"rounds={rounds}: it must be 1 or more")
    if warm_up:
        ours()
        peer()
    runs = [(timed(ours), timed(peer)) for _ in range(rounds)]
    scale = ours_size / peer_size
    return PairedResult(
        wall_ratios=tuple(scale * theirs.wall_s / own.wall_s for own, theirs in runs),
        cpu_ratios=tuple(scale * theirs.cpu_s / max(own.cpu_s, 1e-9) for own, theirs in runs),
        ours_s=statistics.median(own.wall_s for own, _ in runs),
        peer_s=statistics.median(theirs.wall_s for _, theirs in runs),
        ours_cpu_s=statistics.median(own.cpu_s for own, _ in runs),
        peer_cpu_s=statistics.median(theirs.cpu_s for _, theirs in runs),
    )


def timed(action: Callable[[], Any], below: Callable[[], float] | None = None) -> Timing:
    """Runs an action and returns its seconds; what it returns itself where it returns a `Timing`.

    Processor time is that of all threads of this process and of all processes below it, whether they end in the run or go on:
    `time.process_time` leaves children out, and a run whose work they do (workers of a pass, a job server, a whole pipeline) would
    seem to cost next to nothing.

    Args:
        action: what is timed.
        below: gives the processor seconds of the processes below this one so far (`seconds_below`).
    """
    seconds = below or seconds_below
    before = seconds()
    start, cpu_start = time.perf_counter(), time.process_time()
    reported = action()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    if isinstance(reported, Timing):
        return reported
    # Looking for processes is not in it. What a process used whose parent ended, too, is no longer below this one.
    return Timing(wall_s=wall, cpu_s=max(cpu + seconds() - before, cpu))


def seconds_below() -> float:
    """Returns what the processes below this one have used so far; those that ended count by what was left to who waited for them."""
    import psutil

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended in between
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
