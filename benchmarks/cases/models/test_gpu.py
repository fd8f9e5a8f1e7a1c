"""Training on a GPU: our loop from files beside one batch repeated on the card, Keras' `fit` from memory, and itself, deterministic.

A click model of 26 embeddings (see `gpu_worker`), batches of 16,384, metrics and log on. Each process compiles once what it is asked for;
then rounds of ours and the peer's take turns, the other one idle. FULLPASS_BENCH_ROUNDS sets the pairs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks.data import click_numbers
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import Timing, paired
from cluster.benchmarking.results import record_pair

DEVICE, BATCH = "/gpu:0", 16_384
ROWS = int(os.environ.get("FULLPASS_BENCH_GPU_ROWS", "1048576"))
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))
_LOOP = "training loop from Parquet, metrics and log on"
_COMPILED = {False: "not compiled", True: "`xla = true`"}

pytestmark = pytest.mark.timeout(1800)


class Worker:
    """A process that trains on the card on request.

    Args:
        deterministic: of all that it trains.
    """

    def __init__(self, deterministic: bool) -> None:
        path = os.path.dirname(click_numbers.parquet(ROWS).paths[0])
        settings = {"device": DEVICE, "path": path, "batch": BATCH, "deterministic": deterministic}
        words = [sys.executable, "-m", "benchmarks.cases.models.gpu_worker", json.dumps(settings)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: dict[str, float] = {}
        self.card = str(self._answer().get("card", ""))

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        assert line, f"the worker ended with {self._process.wait()}; its last words are above"
        return json.loads(line)

    def turn(self, what: str, xla: bool, steps: int) -> Timing:
        """Makes steps and returns their seconds; `said` keeps what else is known of ours."""
        self._process.stdin.write(json.dumps({"what": what, "xla": xla, "steps": steps}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if what == "ours":
            self.said = answer
        return Timing(wall_s=answer["wall_s"], cpu_s=answer["cpu_s"])

    def close(self) -> None:
        """Ends it."""
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def worker():
    """The process that is not deterministic."""
    found = Worker(deterministic=False)
    try:
        if not found.card:
            pytest.skip("no GPU: TensorFlow finds none on this machine")
        yield found
    finally:
        found.close()


def _recorded(benchmark, result, worker, peer, what, steps, package=None):
    title = f"{what}, on {worker.card}"
    record_pair(benchmark, result, peer, steps * BATCH, what=title, package=package)
    said = worker.said
    assert 0 < said["loss"] < 0.75 and said["auc"] > 0.5, said
    benchmark.extra_info.update({key: said[key] for key in ("input_wait_share", "step_ms_p50")})
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.parametrize(("xla", "steps"), [(False, 100), (True, 200)], ids=["not_compiled", "xla"])
def test_loop_against_one_batch_repeated(benchmark, worker, xla, steps):
    result = paired(lambda: worker.turn("ours", xla, steps), lambda: worker.turn("repeated", xla, steps), ROUNDS)
    peer = "one batch repeated on the card, no input, metrics or log"
    _recorded(benchmark, result, worker, peer, f"{_LOOP}, {_COMPILED[xla]}", steps)


@pytest.mark.parametrize(("xla", "steps"), [(False, 100), (True, 200)], ids=["not_compiled", "xla"])
def test_loop_against_keras_fit_in_memory(benchmark, worker, xla, steps):
    result = paired(lambda: worker.turn("ours", xla, steps), lambda: worker.turn("keras", xla, steps), ROUNDS)
    keras = PEERS["keras"]
    peer = f"{keras.title} of whole batches in memory"
    _recorded(benchmark, result, worker, peer, f"{_LOOP}, {_COMPILED[xla]}", steps, keras.package)


def test_deterministic_loop_against_one_that_is_not(benchmark, worker):
    held, steps = Worker(deterministic=True), 100
    try:
        result = paired(lambda: held.turn("ours", False, steps), lambda: worker.turn("ours", False, steps), ROUNDS)
        _recorded(
            benchmark, result, held, "the same loop, `deterministic = false`", f"{_LOOP}, `deterministic = true`", steps
        )
    finally:
        held.close()
