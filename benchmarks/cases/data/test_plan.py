"""A plan of a million files and 1e11 records: any position of any epoch, found cold, and the memory it takes."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

import numpy as np

from cluster.benchmarking.results import note
from engine.plan import EpochPlan

NUM_FILES, BLOCKS_A_FILE = 1_000_000, 2
BATCH_SIZE = 8192


def block_table() -> np.ndarray:
    """Two million blocks of unequal sizes, 1e11 records together."""
    sizes = np.random.default_rng(1).integers(25_000, 75_001, NUM_FILES * BLOCKS_A_FILE)
    sizes[-1] += 10**11 - sizes.sum()
    return sizes


def one_position(plan: EpochPlan, rng: np.random.Generator) -> float:
    """Seconds to find the window and the first 32 records of a random position of an epoch never seen before."""
    epoch = int(rng.integers(0, 1 << 40))
    place = int(rng.integers(0, plan.num_records - 32))
    start = time.perf_counter()
    window = plan.window_at(epoch, place)
    ids = window.record_ids(window.rows(place, min(place + 32, window.stop)))
    seconds = time.perf_counter() - start
    assert len(ids) and ids.min() >= 0 and ids.max() < plan.num_records
    return seconds


def test_plan_any_position_of_any_epoch_below_a_millisecond(benchmark):
    plan = EpochPlan(block_table(), seed=3, global_batch_size=BATCH_SIZE)
    assert plan.num_records == 10**11
    rng = np.random.default_rng(2)
    seconds = [one_position(plan, rng) for _ in range(300)]
    median, most = statistics.median(seconds), sorted(seconds)[int(0.95 * len(seconds))]
    note(benchmark, {"median_ms": 1e3 * median, "p95_ms": 1e3 * most, "positions": len(seconds)})
    print(f"\n{benchmark.name}: median {1e3 * median:.3f} ms, 95 % below {1e3 * most:.3f} ms")
    benchmark.pedantic(one_position, args=(plan, rng), rounds=20)
    assert median < 1e-3


def test_plan_memory_below_200_mb(benchmark):
    """Peak of the whole process: Python and numpy imported, the plan built and used."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cases.data.test_plan"], capture_output=True, text=True, check=True
    )
    before, peak = map(int, done.stdout.split())
    note(benchmark, {"peak_mib": peak >> 10, "plan_mib": (peak - before) >> 10})
    print(f"\n{benchmark.name}: peak {peak >> 10} MiB, of which the plan {(peak - before) >> 10} MiB")
    benchmark.pedantic(lambda: None, rounds=1)
    assert peak < 200_000


def peak_kib() -> int:
    """Peak resident memory of this process since its start (ru_maxrss would count the parent's before the exec)."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:  # macOS, where ru_maxrss is in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    before = peak_kib()
    plan = EpochPlan(block_table(), seed=3, global_batch_size=BATCH_SIZE)
    rng = np.random.default_rng(2)
    for _ in range(100):
        one_position(plan, rng)
    print(before, peak_kib())
