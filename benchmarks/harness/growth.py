"""Processor time at 1, 10 and 100 times a size, with the fixed cost and the slope apart: what every case of growth does."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.harness.fits import line
from cluster.benchmarking.pairs import timed
from cluster.benchmarking.results import note

__all__ = ["grow"]


def grow(
    benchmark: Any, unit: str, sizes: tuple[int, ...], work: Callable[[int], int], rounds: int, units: int = 1
) -> None:
    """Measures `work` at each size, in turn, and notes seconds, the fixed cost and the slope of a unit.

    Args:
        benchmark: pytest-benchmark's fixture.
        unit: what there is more of.
        sizes: to measure.
        work: does the work at a size and returns size × units, which is checked at each call.
        rounds: of all sizes.
        units: see `work`.
    """
    assert [work(size) for size in sizes] == [size * units for size in sizes]
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    clock: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            done: list[int] = []
            timing = timed(lambda size=size, done=done: done.append(work(size)))  # type: ignore[misc]
            assert done == [size * units]
            taken[size].append(timing.cpu_s)
            clock[size].append(timing.wall_s)
    seconds = [statistics.median(taken[size]) for size in sizes]
    fixed, slope = line(sizes, seconds)
    extra = {
        "unit": unit,
        "sizes": list(sizes),
        "cpu_s": [round(each, 6) for each in seconds],
        "wall_s": [round(statistics.median(clock[size]), 6) for size in sizes],
        "spread_cpu_s": [[round(min(each), 6), round(max(each), 6)] for each in taken.values()],
        "fixed_cpu_s": round(fixed, 6),
        "slope_cpu_us": round(1e6 * slope, 4),
        "rounds": rounds,
    }
    note(benchmark, extra)
    print(
        f"\n{benchmark.name}: {1e3 * fixed:.2f} ms + {1e6 * slope:.3f} µs a {unit} (ms: {[round(1e3 * s, 2) for s in seconds]})"
    )
    benchmark.pedantic(work, args=(sizes[0],), rounds=1)
