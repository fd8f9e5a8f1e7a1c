"""Rates with 1, 2, 4, ... cores, by threads, processes or workers, strong and weak: what every case of scaling notes.

Strong is the same work shared by more, weak is more work with more to do it. What independent copies do on as many cores is what the
machine can give; a rate over theirs is the efficiency.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.harness.fits import scaling
from cluster.benchmarking.results import note

__all__ = ["COPIES", "CORES", "LADDER", "Turn", "measured", "median_least_greatest", "note_ladder"]

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
_STEPS = map(int, os.environ.get("FULLPASS_BENCH_LADDER", "1,2,4,8,16,32").split(","))
LADDER = [k for k in _STEPS if k <= len(CORES)]
COPIES = "independent copies"
Turn = tuple[float, float]  # units a second of all together, processor seconds a unit


def measured(kinds: Mapping[str, Mapping[int, Callable[[], Turn]]], rounds: int) -> dict[str, dict[int, list[Turn]]]:
    """Returns the turns of each kind and number of cores; all take turns, so that other load on the machine meets all alike.

    Args:
        kinds: name to number of cores to what makes a turn.
        rounds: turns of each; every second round goes backwards.
    """
    order = [(name, k) for name, by_cores in kinds.items() for k in by_cores]
    turns: dict[str, dict[int, list[Turn]]] = {name: {k: [] for k in by_cores} for name, by_cores in kinds.items()}
    for number in range(rounds):
        for name, k in order if number % 2 == 0 else order[::-1]:
            turns[name][k].append(kinds[name][k]())
    return turns


def note_ladder(benchmark: Any, what: str, unit: str, turns: Mapping[str, Mapping[int, Sequence[Turn]]]) -> None:
    """Notes rates, processor time and efficiency by number of cores, and what laws of scaling predict for twice as many.

    Args:
        benchmark: pytest-benchmark's fixture.
        what: is done, in the words of the tables.
        unit: of the rates.
        turns: name of a kind to number of cores to its turns; `COPIES` is the ceiling.
    """
    rates = {
        name: [median_least_greatest([rate for rate, _ in by_cores[k]]) for k in sorted(by_cores)]
        for name, by_cores in turns.items()
    }
    cores = sorted(next(iter(turns.values())))
    ladder: dict[str, Any] = {"what": what, "unit": unit, "cores": cores, "rounds": len(turns[COPIES][cores[0]])}
    ladder["rates"] = rates
    ladder["cpu_us"] = {
        name: [float(f"{1e6 * statistics.median(cpu for _, cpu in by_cores[k]):.6g}") for k in cores]
        for name, by_cores in turns.items()
    }
    ladder["efficiency"] = {
        name: [
            median_least_greatest(
                [own[0] / copy[0] for own, copy in zip(by_cores[k], turns[COPIES][k], strict=True)], 3
            )
            for k in cores
        ]
        for name, by_cores in turns.items()
        if name != COPIES
    }
    ladder["predicted"] = {name: _predicted(cores, [each[0] for each in rates[name]]) for name in ladder["efficiency"]}
    note(benchmark, {"ladder": ladder})
    print(f"{benchmark.name}: of the copies' rates {ladder['efficiency']}; {unit}/s {rates}")


def _predicted(cores: Sequence[int], rates: Sequence[float]) -> dict[str, float]:
    """Returns what curves through the medians predict for twice the greatest number of cores."""
    if len(cores) < 2:
        return {}
    amdahl = scaling(cores, rates, coherence=False)
    found = {"cores": 2 * cores[-1], "amdahl": float(f"{amdahl.predicted(2 * cores[-1]):.6g}")}
    found["amdahl_serial_share"] = round(amdahl.contention, 4)
    if len(cores) > 2:  # a curve of two terms goes through any two points
        universal = scaling(cores, rates)
        found |= {
            "usl": float(f"{universal.predicted(2 * cores[-1]):.6g}"),
            "usl_contention": round(universal.contention, 4),
            "usl_coherence": round(universal.coherence, 6),
        }
    return found


def median_least_greatest(values: Sequence[float], digits: int = 6) -> list[float]:
    """Returns the median, the least and the greatest of some values, in so many digits."""
    return [float(f"{value:.{digits}g}") for value in (statistics.median(values), min(values), max(values))]
