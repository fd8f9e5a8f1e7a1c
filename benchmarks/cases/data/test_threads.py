"""Reading and feeding with 1, 2, 4, … threads on as many cores, beside as many independent copies with one thread and one core each.

The copies are what the machine can give (weak scaling: each reads all); one process with k threads shares one pass over the same
rows (strong scaling). Efficiency is its rate over that of all copies. With three numbers of cores or more, Amdahl's law and the
universal scalability law go through the rates; what they say of more cores is a prediction.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import pytest

from benchmarks.data import transformed
from benchmarks.harness.fits import scaling
from cluster.benchmarking.pairs import PairedResult
from cluster.benchmarking.results import record_pair

pytestmark = pytest.mark.timeout(3600)
ROWS = 100_000
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
LADDER = [k for k in (1, 2, 4, 8, 16, 32) if k <= len(CORES)]


class Group:
    """Processes that make a pass at the same time; each on its cores."""

    def __init__(self, cores: list[list[int]], threads: int, what: str, path: str) -> None:
        worker = [sys.executable, "-m", "benchmarks.cases.data.threads_worker"]
        self._processes = [
            subprocess.Popen(
                [*worker, json.dumps(each), str(threads), what, path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for each in cores
        ]
        for process in self._processes:
            assert int(process.stdout.readline()) == ROWS

    def turn(self) -> tuple[float, float]:
        """Returns rows a second of all together, and their processor seconds a row."""
        for process in self._processes:
            process.stdin.write("\n")
            process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for process in self._processes]
        assert all(one["rows"] == ROWS for one in said)
        rows = ROWS * len(said)
        return sum(ROWS / one["wall_s"] for one in said), sum(one["cpu_s"] for one in said) / rows

    def close(self) -> None:
        """Ends all."""
        for process in self._processes:
            process.stdin.close()
            process.wait()


@pytest.mark.skipif(len(LADDER) < 2, reason="needs two cores")
@pytest.mark.parametrize("what", ["read", "feed"])
def test_threads_against_independent_copies(benchmark, what):
    path = transformed.tfrecords(ROWS) if what == "read" else transformed.parquet(ROWS)
    root = os.path.dirname(path.paths[0])
    together = {k: Group([CORES[:k]], k, what, root) for k in LADDER}
    copies = {k: Group([[core] for core in CORES[:k]], 1, what, root) for k in LADDER}
    turns = {k: [(together[k].turn(), copies[k].turn()) for _ in range(ROUNDS)] for k in LADDER}
    for group in (*together.values(), *copies.values()):
        group.close()
    most = LADDER[-1]
    result = PairedResult(
        wall_ratios=tuple(ours[0] / theirs[0] for ours, theirs in turns[most]),
        cpu_ratios=tuple(theirs[1] / ours[1] for ours, theirs in turns[most]),
        ours_s=statistics.median(ROWS / ours[0] for ours, _ in turns[most]),
        peer_s=statistics.median(ROWS / theirs[0] for _, theirs in turns[most]),
        ours_cpu_s=statistics.median(ROWS * ours[1] for ours, _ in turns[most]),
        peer_cpu_s=statistics.median(ROWS * theirs[1] for _, theirs in turns[most]),
    )
    done = {"read": "TFRecord to Arrow", "feed": "shuffled training feed"}[what]
    record_pair(benchmark, result, f"{most} independent copies, one core each", ROWS, what=f"{done}, {most} threads")
    rates = [statistics.median(ours[0] for ours, _ in turns[k]) for k in LADDER]
    ceilings = [statistics.median(theirs[0] for _, theirs in turns[k]) for k in LADDER]
    benchmark.extra_info.update(
        threads=LADDER,
        strong_records_per_s=[round(rate) for rate in rates],
        weak_records_per_s=[round(rate) for rate in ceilings],
        efficiency=[round(rate / ceiling, 3) for rate, ceiling in zip(rates, ceilings)],
    )
    if len(LADDER) >= 3:
        amdahl, universal = scaling(LADDER, rates, coherence=False), scaling(LADDER, rates)
        benchmark.extra_info.update(
            amdahl_serial_share=round(amdahl.contention, 4),
            usl_contention=round(universal.contention, 4),
            usl_coherence=round(universal.coherence, 6),
            predicted_records_per_s={str(2 * most): round(universal.predicted(2 * most))},
        )
    print(f"{benchmark.name}: {benchmark.extra_info['efficiency']} of the copies' rates {ceilings}")
    benchmark.pedantic(lambda: None, rounds=1)
