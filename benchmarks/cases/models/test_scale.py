"""Two workers of one group, one core each, against two independent one-worker runs side by side.

The independent pair is the ceiling of the machine: the same model, the same examples a worker, no communication. All four
processes are started once and take turns of 32 steps, so that other load on the machine meets both alike. Beside the wall
clock, which in a group waits for the slower worker of every step, stands the processor time of a step: what communication costs.

A step sums 2.6 MB of gradients whatever its batch, so efficiency is a matter of how much is computed for them: 1,024 examples a
worker are some 16 ms of one core, 4,096 are 66 ms.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases.models.scaling_worker import STEPS_PER_CALL
from cluster.benchmarking.pairs import PairedResult
from cluster.benchmarking.results import record_pair
from engine.machine.ports import free_ports
from trainers.supervision.tf_config import tf_config

ROOT = str(Path(__file__).parents[3])
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "7"))
CALLS = 2


class Pair:
    """Two training processes, on a core each.

    Args:
        directory: for their checkpoints.
        together: as one group with a global batch of two, else each by itself.
        batch: examples a step of each process.
    """

    def __init__(self, directory: Path, together: bool, batch: int) -> None:
        self._together, self._batch = together, batch
        cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
        self._processes = []
        for worker in range(2):
            env = {**os.environ, "PYTHONPATH": ROOT, "FULLPASS_PROGRESS": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
            env.pop("TF_CONFIG", None)
            if together:
                env["TF_CONFIG"] = tf_config(cluster, "worker", worker)
            place = directory / ("group" if together else f"alone-{worker}")
            words = [str(worker), str(place), str(2 * batch if together else batch)]
            command = [sys.executable, "-m", "benchmarks.cases.models.scaling_worker", *words]
            self._processes.append(
                subprocess.Popen(command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        for process in self._processes:
            assert any(line.startswith("READY") for line in process.stdout), "it ended before its first step"

    def turn(self) -> tuple[float, float, list[dict]]:
        """Makes the steps of a turn; returns examples/s of both, processor seconds of both, and what each said."""
        for process in self._processes:
            process.stdin.write(f"{CALLS}\n")
            process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for process in self._processes]
        examples = CALLS * STEPS_PER_CALL * self._batch
        if self._together:
            rate = 2 * examples / max(one["wall_s"] for one in said)
        else:
            rate = sum(examples / one["wall_s"] for one in said)
        return rate, sum(one["cpu_s"] for one in said), said

    def close(self) -> None:
        """Ends both."""
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs one core for each of two workers")
@pytest.mark.parametrize("batch", [1024, 4096])
def test_scaling_two_workers_against_two_independent(benchmark, tmp_path, batch):
    pairs = [Pair(tmp_path, together, batch) for together in (False, True)]
    rounds = []

    def run() -> None:
        for number in range(ROUNDS + 1):
            turns = {which: pairs[which].turn() for which in ((0, 1), (1, 0))[number % 2]}
            if number:  # the first one warms up
                rounds.append((turns[1], turns[0]))

    try:
        benchmark.pedantic(run, rounds=1)
    finally:
        for pair in pairs:
            pair.close()
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
