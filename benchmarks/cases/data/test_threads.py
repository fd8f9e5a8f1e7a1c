"""Reading and feeding by 1, 2, 4, … threads and by as many processes, beside as many independent copies with one thread and one core each.

The copies are what the machine can give: each reads all. Strong scaling shares one pass over the same rows among the threads of a process,
or among processes with a core each; weak scaling makes one process with k threads go over them k times. Efficiency is a rate over
that of the copies. The curves through the rates, and what they say of more cores, are predictions.

FULLPASS_BENCH_THREAD_ROWS (100,000) sets the rows, FULLPASS_BENCH_ROUNDS the turns, FULLPASS_BENCH_LADDER the cores ("1,4,16"): many cores
want more rows, or a pass is over before all of them have begun.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import pytest

from benchmarks.data import transformed
from benchmarks.harness.ladder import COPIES, CORES, LADDER, Turn, measured, note_ladder
from cluster.benchmarking.pairs import PairedResult
from cluster.benchmarking.results import record_pair

pytestmark = pytest.mark.timeout(3600)
ROWS = int(os.environ.get("FULLPASS_BENCH_THREAD_ROWS", "100000"))
BATCH = 8000 if ROWS % 8000 == 0 else 800  # processes that are a power of two up to 32 divide it
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
DONE = {"read": "TFRecord to Arrow", "feed": "shuffled training feed"}


class Group:
    """Processes that make a pass at the same time, on the first k cores.

    Args:
        what: "read" or "feed".
        path: of the rows.
        cores: k.
        threads: of one process on all of them; None has a process for each core.
        shared: whether the processes share one pass; else each makes its own.
        times: how often a pass goes over the rows.
    """

    def __init__(
        self, what: str, path: str, cores: int, threads: int | None, shared: bool = False, times: int = 1
    ) -> None:
        places = [CORES[:cores]] if threads else [[core] for core in CORES[:cores]]
        self._rows, self._shared = times * ROWS * (1 if threads or shared else cores), shared
        self._processes = []
        for index, mine in enumerate(places):
            place = (index, len(places)) if shared else (0, 1)
            settings = {"cores": mine, "threads": threads or 1, "what": what, "path": path}
            words = [sys.executable, "-m", "benchmarks.cases.data.threads_worker"]
            words.append(json.dumps({**settings, "place": place, "times": times, "batch": BATCH}))
            self._processes.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert sum(int(process.stdout.readline()) for process in self._processes) == self._rows

    def turn(self) -> Turn:
        """Returns rows a second of all together, and their processor seconds a row."""
        for process in self._processes:
            process.stdin.write("\n")
            process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for process in self._processes]
        assert sum(one["rows"] for one in said) == self._rows
        # A pass that is shared is done when the last one is; of the others each counts for itself.
        parts = [{"rows": self._rows, "wall_s": max(one["wall_s"] for one in said)}] if self._shared else said
        return sum(one["rows"] / one["wall_s"] for one in parts), sum(one["cpu_s"] for one in said) / self._rows

    def close(self) -> None:
        """Ends all."""
        for process in self._processes:
            process.stdin.close()
            process.wait()


@pytest.mark.skipif(len(LADDER) < 2, reason="needs two cores")
@pytest.mark.parametrize("what", ["read", "feed"])
def test_threads_and_processes_against_independent_copies(benchmark, what):
    rows = transformed.tfrecords(ROWS) if what == "read" else transformed.parquet(ROWS)
    path = os.path.dirname(rows.paths[0])
    groups = {
        "threads, strong": {k: Group(what, path, k, threads=k) for k in LADDER},
        "threads, weak": {k: Group(what, path, k, threads=k, times=k) for k in LADDER},
        "processes, strong": {k: Group(what, path, k, threads=None, shared=True) for k in LADDER},
        COPIES: {k: Group(what, path, k, threads=None) for k in LADDER},
    }
    try:
        turns = measured({name: {k: each.turn for k, each in by.items()} for name, by in groups.items()}, ROUNDS)
    finally:
        for by_cores in groups.values():
            for group in by_cores.values():
                group.close()
    most = LADDER[-1]
    pairs = list(zip(turns["threads, strong"][most], turns[COPIES][most]))
    result = PairedResult(
        wall_ratios=tuple(ours[0] / theirs[0] for ours, theirs in pairs),
        cpu_ratios=tuple(theirs[1] / ours[1] for ours, theirs in pairs),
        ours_s=statistics.median(ROWS / ours[0] for ours, _ in pairs),
        peer_s=statistics.median(ROWS / theirs[0] for _, theirs in pairs),
        ours_cpu_s=statistics.median(ROWS * ours[1] for ours, _ in pairs),
        peer_cpu_s=statistics.median(ROWS * theirs[1] for _, theirs in pairs),
    )
    note_ladder(benchmark, DONE[what], "record", turns)
    record_pair(
        benchmark, result, f"{most} independent copies, one core each", ROWS, what=f"{DONE[what]}, {most} threads"
    )
    benchmark.pedantic(lambda: None, rounds=1)
