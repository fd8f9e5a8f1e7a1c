"""Ours and a peer's, timed in turn in one process, so that a busy machine slows both alike."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

__all__ = ["PairedResult", "paired", "record_pair"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedResult:
    """Ratios peer time / our time over interleaved pairs; above 1 we are faster.

    Args:
        ratio_median, ratio_min, ratio_max: over the pairs.
        ours_s, peer_s: median wall seconds of one run of each.
        rounds: pairs measured.
        cpu_ratio_median, cpu_ratio_min, cpu_ratio_max: the same of processor seconds (all threads of the process), which
            other programs on the machine disturb less; the ratio of what one core does.
    """

    ratio_median: float
    ratio_min: float
    ratio_max: float
    ours_s: float
    peer_s: float
    rounds: int
    cpu_ratio_median: float
    cpu_ratio_min: float
    cpu_ratio_max: float


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

    Args:
        ours: does our work once.
        peer: does the same work once, the peer's way.
        rounds: pairs to measure, at least 1.
        ours_size: units of work of one call of `ours`; a slow peer may be given less work than we.
        peer_size: units of work of one call of `peer`.
        warm_up: run each once before, unmeasured.
    """
    if warm_up:
        ours()
        peer()
    runs = [(_seconds(ours), _seconds(peer)) for _ in range(rounds)]
    pairs = [(own[0] / ours_size, theirs[0] / peer_size) for own, theirs in runs]
    ratios = [theirs / own for own, theirs in pairs]
    cpu_ratios = [(theirs[1] / peer_size) / max(own[1] / ours_size, 1e-9) for own, theirs in runs]
    return PairedResult(
        ratio_median=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        ours_s=statistics.median(own for own, _ in pairs) * ours_size,
        peer_s=statistics.median(theirs for _, theirs in pairs) * peer_size,
        rounds=rounds,
        cpu_ratio_median=statistics.median(cpu_ratios),
        cpu_ratio_min=min(cpu_ratios),
        cpu_ratio_max=max(cpu_ratios),
    )


def record_pair(benchmark: Any, result: PairedResult, peer: str, records: int | None = None) -> None:
    """Notes a paired result in a pytest-benchmark's extra_info: the ratio with its spread, and our records a second."""
    key = f"vs {peer}"
    benchmark.extra_info[key] = (
        f"{result.ratio_median:.2f} x ({result.ratio_min:.2f} to {result.ratio_max:.2f}, {result.rounds} pairs); of processor time "
        f"{result.cpu_ratio_median:.2f} x ({result.cpu_ratio_min:.2f} to {result.cpu_ratio_max:.2f})"
    )
    if records is not None:
        benchmark.extra_info["records_per_s"] = round(records / result.ours_s)
    print(
        f"\n{benchmark.name}: {key}: {benchmark.extra_info[key]}; ours {result.ours_s:.4f} s, peer {result.peer_s:.4f} s"
    )


def _seconds(action: Callable[[], Any]) -> tuple[float, float]:
    start, cpu_start = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start, time.process_time() - cpu_start
