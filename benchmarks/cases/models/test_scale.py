"""Two workers of one group, one core each, against two independent one-worker runs side by side; and 1, 2, 4, ... of them.

The independent pair is the ceiling of the machine: the same model, the same examples a worker, no communication. All four
processes are started once and take turns of 32 steps, so that other load on the machine meets both alike. Beside the wall
clock, which in a group waits for the slower worker of every step, stands the processor time of a step: what communication costs.

A step sums 2.6 MB of gradients whatever its batch, so efficiency is a matter of how much is computed for them: 1,024 examples a
worker are some 16 ms of one core, 4,096 are 66 ms.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases.models.scaling_worker import STEPS_PER_CALL
from benchmarks.harness.ladder import COPIES, CORES, LADDER, Turn, measured, note_ladder
from cluster.benchmarking.pairs import PairedResult
from cluster.benchmarking.results import record_pair
from engine.machine.ports import free_ports
from trainers.supervision.tf_config import tf_config

ROOT = str(Path(__file__).parents[3])
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
CALLS = 2


class Group:
    """Training processes, on a core each.

    Args:
        directory: for their checkpoints.
        workers: how many.
        together: as one group, else each by itself.
        batch: examples a step of each process.
    """

    def __init__(self, directory: Path, workers: int, together: bool, batch: int) -> None:
        self._together, self._batch = together and workers > 1, batch
        cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(workers)]}
        self._processes = []
        for worker in range(workers):
            env = {**os.environ, "PYTHONPATH": ROOT, "FULLPASS_PROGRESS": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
            env.pop("TF_CONFIG", None)
            if self._together:
                env["TF_CONFIG"] = tf_config(cluster, "worker", worker)
            place = directory / ("group" if self._together else f"alone-{worker}")
            words = [str(CORES[worker]), str(place), str(workers * batch if self._together else batch)]
            command = [sys.executable, "-m", "benchmarks.cases.models.scaling_worker", *words]
            self._processes.append(
                subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )

    def begin(self) -> None:
        """Waits for the first steps of all."""
        for process in self._processes:
            assert any(line.startswith("READY") for line in process.stdout), "it ended before its first step"

    def turn(self) -> tuple[float, float, list[dict]]:
        """Makes the steps of a turn; returns examples/s of all, their processor seconds, and what each said."""
        for process in self._processes:
            process.stdin.write(f"{CALLS}\n")
            process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for process in self._processes]
        examples = CALLS * STEPS_PER_CALL * self._batch
        if self._together:
            rate = len(said) * examples / max(one["wall_s"] for one in said)
        else:
            rate = sum(examples / one["wall_s"] for one in said)
        return rate, sum(one["cpu_s"] for one in said), said

    def rates(self) -> Turn:
        """Returns examples a second of all together, and their processor seconds an example."""
        rate, cpu, said = self.turn()
        return rate, cpu / (len(said) * CALLS * STEPS_PER_CALL * self._batch)

    def close(self) -> None:
        """Ends all."""
        for process in self._processes:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def begun(groups: list[Group]):
    """Waits until all have begun, which they do side by side, and ends them."""
    try:
        for group in groups:
            group.begin()
        yield groups
    finally:
        for group in groups:
            group.close()


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.skipif(len(CORES) < 2, reason="needs one core for each of two workers")
@pytest.mark.parametrize("batch", [1024, pytest.param(4096, marks=pytest.mark.full)])
def test_scaling_two_workers_against_two_independent(benchmark, tmp_path, batch):
    rounds = []
    with begun([Group(tmp_path, 2, together, batch) for together in (False, True)]) as pairs:

        def run() -> None:
            for number in range(ROUNDS + 1):
                turns = {which: pairs[which].turn() for which in ((0, 1), (1, 0))[number % 2]}
                if number:  # the first one warms up
                    rounds.append((turns[1], turns[0]))

        benchmark.pedantic(run, rounds=1)
    steps = STEPS_PER_CALL * (1 + CALLS * (ROUNDS + 1))
    for _, _, said in rounds[-1]:
        assert [one["step"] for one in said] == [steps, steps]
    group, alone = rounds[-1][0][2], rounds[-1][1][2]
    assert group[0]["weights"] == group[1]["weights"], "the workers of a group have the same weights, bit for bit"
    assert group[0]["weights"] != alone[0]["weights"], "others than those of another global batch"
    per_step = 1e3 / (2 * CALLS * STEPS_PER_CALL)
    examples = 2 * CALLS * STEPS_PER_CALL * batch
    result = PairedResult(
        wall_ratios=tuple(ours[0] / peer[0] for ours, peer in rounds),
        cpu_ratios=tuple(peer[1] / ours[1] for ours, peer in rounds),
        ours_s=statistics.median(examples / ours[0] for ours, _ in rounds),
        peer_s=statistics.median(examples / peer[0] for _, peer in rounds),
        ours_cpu_s=statistics.median(ours[1] for ours, _ in rounds),
        peer_cpu_s=statistics.median(peer[1] for _, peer in rounds),
    )
    record_pair(
        benchmark,
        result,
        "two independent runs side by side",
        examples,
        what=f"two workers, one core each, {batch:,} examples a step",
        headline=batch == 4096,
    )
    benchmark.extra_info["group_cpu_ms_per_step"] = result.ours_cpu_s * per_step
    benchmark.extra_info["alone_cpu_ms_per_step"] = result.peer_cpu_s * per_step


@pytest.mark.full
@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.skipif(len(LADDER) < 2, reason="needs one core for each of two workers")
def test_ladder_of_workers(benchmark, tmp_path):
    """Strong scaling shares the examples of a step among the workers, weak gives each of them as many."""
    each = 2048
    groups = {
        "workers, strong": {k: Group(tmp_path / f"strong-{k}", k, True, each // k) for k in LADDER},
        "workers, weak": {k: Group(tmp_path / f"weak-{k}", k, True, each) for k in LADDER},
        COPIES: {k: Group(tmp_path / f"copies-{k}", k, False, each) for k in LADDER},
    }
    with begun([group for by_cores in groups.values() for group in by_cores.values()]):
        kinds = {name: {k: group.rates for k, group in by_cores.items()} for name, by_cores in groups.items()}
        benchmark.pedantic(measured, args=(kinds, 1), rounds=1)  # warms up
        turns = measured(kinds, ROUNDS)
    note_ladder(benchmark, f"training, {each:,} examples a step (weak: of each worker)", "example", turns)
