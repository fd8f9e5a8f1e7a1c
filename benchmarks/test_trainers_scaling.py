"""Two workers of one group, one core each, against two independent one-worker trainings side by side.

The independent pair is the ceiling of the machine: the same model, the same examples a worker, no communication.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.local_group import free_ports
from trainers.tf_config import tf_config

ROOT = str(Path(__file__).parents[1])
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "3"))
BATCH, STEPS = 1024, 48
PROGRAM = """
import json, os, sys
core, directory, batch, steps = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
os.sched_setaffinity(0, {core})
import keras, numpy as np, tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(2)
from trainers import ArrayDataset, CheckpointConfig, Trainer, TrainerConfig
from trainers.session import Session
def build(context):
    x = {"x": keras.Input((256,), name="x")}
    h = x["x"]
    for _ in range(3):
        h = keras.layers.Dense(512, activation="relu")(h)
    model = keras.Model(x, keras.layers.Dense(1)(h))
    model.compile("sgd", "mse")
    return model
rng = np.random.default_rng(0)
data = ArrayDataset({"x": rng.normal(size=(8192, 256)), "y": rng.normal(size=8192)})
config = TrainerConfig(directory=directory, label="y", global_batch_size=batch, steps=steps, tensorboard=False,
                       steps_per_call=16, log_every_steps=16, checkpoint=CheckpointConfig(every_steps=None))
rates = []
log = Session._log
def noted(self):
    log(self)
    rates.append(self._last["examples_per_s"])
Session._log = noted
Trainer(config, build, data).fit()
print("RATE", rates[1], flush=True)  # the second reading: the first one traces
os._exit(0)
"""


def run_pair(directory: Path, together: bool) -> float:
    """Returns examples a second of both processes together."""
    ports = free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    processes = []
    for worker in range(2):
        env = {**os.environ, "PYTHONPATH": ROOT, "FULLPASS_PROGRESS": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
        env.pop("TF_CONFIG", None)
        if together:
            env["TF_CONFIG"] = tf_config(cluster, "worker", worker)
        place = directory / ("group" if together else f"alone-{worker}")
        batch = 2 * BATCH if together else BATCH
        command = [sys.executable, "-c", PROGRAM, str(worker), str(place), str(batch), str(STEPS)]
        processes.append(
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    for text in outputs:
        assert "RATE" in text, text[-3000:]
    rates = [float(re.findall(r"RATE ([\d.]+)", text)[0]) for text in outputs]
    return rates[0] if together else sum(rates)  # a worker of a group counts the global batch


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs one core for each of two workers")
def test_scaling_two_workers_against_two_independent(benchmark, tmp_path):
    pairs: list[tuple[float, float]] = []

    def run() -> None:
        for number in range(ROUNDS):
            alone = run_pair(tmp_path / str(number), together=False)
            pairs.append((run_pair(tmp_path / str(number), together=True), alone))

    benchmark.pedantic(run, rounds=1)
    ratios = [ours / peer for ours, peer in pairs]
    benchmark.extra_info.update(
        ratio_median=statistics.median(ratios), ratio_min=min(ratios), ratio_max=max(ratios),
        examples_per_s=statistics.median(ours for ours, _ in pairs), pairs=json.dumps(pairs),
    )  # fmt: skip
