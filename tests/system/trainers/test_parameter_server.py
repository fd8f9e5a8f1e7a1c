"""Parameter servers: one worker learns what one device does, whatever the options; a killed worker does not stop the training, a killed
ps restarts it from the last commit."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from engine.machine.ports import free_ports
from tests.support.own_session import run_in_session
from tests.system.trainers.test_group_faults import logged_steps, trainer_pid
from trainers.checkpoints.checkpoint import load_checkpoint
from trainers.loop.audit import read_audit
from trainers.supervision.local_group import LocalGroup

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = str(Path(__file__).parents[3])


def test_parameter_server_killed_worker_then_killed_ps_end_with_every_step(tmp_path):
    settings = {"records": 960, "every_steps": 8, "epochs": 3, "pause_s": 0.1}
    target = ["tests.support.group_target:train", str(tmp_path / "out"), json.dumps(settings)]
    running = LocalGroup(2, target, tmp_path / "logs", num_ps=1, env={"PYTHONPATH": ROOT}).start()

    def reach(step: int) -> None:
        while logged_steps(tmp_path) < step:
            assert running.wait(timeout_s=0.05) is None, "ended too early"

    def generations() -> int:
        return log.read_text().count("start -> chief 0")

    log = tmp_path / "logs" / "chief-0.supervisor.log"
    try:
        reach(12)
        os.kill(trainer_pid(running, ("worker", 1)), signal.SIGKILL)
        reach(28)
        assert generations() == 1, "a killed worker stops nobody else"
        os.kill(trainer_pid(running, ("ps", 0)), signal.SIGKILL)
        assert running.wait(timeout_s=900) == 0, log.read_text()[-3000:]
    finally:
        running.stop(grace_s=0.0)
    assert generations() == 2, "a killed ps restarts the group once"
    assert load_checkpoint(str(tmp_path / "out")).step == 90
    used = read_audit(str(tmp_path / "out"))
    for epoch in range(3):
        ids = [i for step in range(epoch * 30, epoch * 30 + 30) for i in used[step].tolist()]
        assert sorted(ids) == list(range(960)), "each record was handed out once an epoch by the steps that count"


# With one worker the order of updates is fixed.
CASES = {
    "plain": {},
    "averages": {"ema_decay": 0.8, "steps_per_call": 4},
    "weights": {"weight": "w", "class_weights": {0: 1.0, 1: 3.0}, "clip_norm": 0.1},
    "slices": {"accumulate_steps": 4, "learning_rate": 0.02},
}


def build_drawn(context):
    """The model of `build_dense`, but its first weights are the next numbers of one generator: each is drawn once, in order."""
    import keras
    import tensorflow as tf

    from tests.support.models import build_dense

    generator = np.random.default_rng(5)

    def draw(shape, dtype=None):
        return tf.constant(generator.uniform(-0.5, 0.5, shape), dtype)

    def clone(layer):
        if not isinstance(layer, keras.layers.Dense):
            return layer
        return keras.layers.Dense.from_config({**layer.get_config(), "kernel_initializer": draw})

    of_dense = build_dense(context)
    model = keras.models.clone_model(of_dense, clone_function=clone)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy", metrics=["accuracy"])
    return model


def train_case(directory: str, name: str, tf_config: str = "") -> None:
    """Trains one case, as the chief of a cluster or on one device; another member of a cluster serves until it is killed."""
    from tests.support.models import build_dense, classification_columns
    from trainers import ArrayDataset, Trainer, TrainerConfig

    if tf_config:
        os.environ["TF_CONFIG"] = tf_config
    columns = classification_columns()
    columns["w"] = np.random.default_rng(3).uniform(0.5, 2.0, 640).astype(np.float32)
    settings = {
        "label": "y",
        "global_batch_size": 32,
        "steps": 12,
        "steps_per_call": 3,
        "tensorboard": False,
        "eval_batch_size": 96,
    }
    config = TrainerConfig(
        directory=directory, strategy="parameter_server" if tf_config else "one_device", **{**settings, **CASES[name]}
    )
    build = build_drawn if name == "plain" else build_dense
    Trainer(config, build, ArrayDataset(columns), eval=ArrayDataset(columns)).fit()


def in_forks(calls: list[tuple[str, ...]]) -> int:
    """Makes calls of `train_case`, each in a process; returns the first one's exit code, after which the others are killed."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=train_case, args=arguments) for arguments in calls]
    try:
        for process in processes:
            process.start()
        first, *others = processes
        while first.is_alive() and all(each.is_alive() for each in others):
            first.join(0.1)
        return 1 if first.is_alive() else first.exitcode
    finally:
        for process in processes:
            process.kill()
            process.join()


def on_servers(directory: str, name: str) -> int:
    """Trains one case on a chief, a worker and two parameter servers, and returns the chief's exit code."""
    for _ in range(4):  # another program may take a port before it is used
        addresses = [f"127.0.0.1:{port}" for port in free_ports(4)]
        cluster = {"chief": addresses[:1], "worker": addresses[1:2], "ps": addresses[2:]}
        calls = [
            (directory, name, json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
            for kind, index in (("chief", 0), ("worker", 0), ("ps", 0), ("ps", 1))
        ]
        code = in_forks(calls)
        if code == 0:
            break
    return code


def run_cases(directory: str) -> None:
    """Runs each case on servers and on one device, all processes being forks of one that has its imports done."""
    import trainers.loop.session
    import trainers.models.adapters.keras3  # noqa: F401

    for name in CASES:
        assert on_servers(f"{directory}/{name}-True", name) == 0, name
        assert in_forks([(f"{directory}/{name}-False", name)]) == 0, name
    for name in CASES:  # TensorFlow computes here from now on, so that nothing can be forked any more
        ours, theirs = (load_checkpoint(f"{directory}/{name}-{servers}") for servers in (True, False))
        assert ours.state["strategy"]["name"] == "parameter_server"
        assert ours.state["variables"].keys() == theirs.state["variables"].keys()
        for group in ours.state["variables"]:
            for a, b in zip(ours.tensors(group).values(), theirs.tensors(group).values(), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=f"{name} {group}")
        scores = [saved.state["training"]["history"][-1] for saved in (ours, theirs)]
        for metric in ("loss", "accuracy"):
            assert scores[0][metric] == pytest.approx(scores[1][metric], rel=1e-4), (name, metric)


def test_parameter_server_with_one_worker_learns_what_one_device_does_under_every_option(tmp_path):
    program = "import sys; from tests.system.trainers.test_parameter_server import run_cases; run_cases(sys.argv[1])"
    code, said = run_in_session(program, str(tmp_path), 900, ROOT, {**os.environ, "PYTHONPATH": ROOT})
    assert code == 0, said[-3000:]
