"""Mirrored on logical devices: the same global batches, the same curve as one device, whatever their number on resume."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.models import build_dense, classification_columns
from tests.support.own_session import run_in_session
from tests.unit.trainers.test_features import config
from tests.unit.trainers.test_keras2_draws import goes_on_to_the_bit, masks_differ
from tests.unit.trainers.test_keras2_optimizers import nadam, train
from trainers import ArrayDataset, Trainer
from trainers.checkpoints.checkpoint import load_checkpoint
from trainers.loop.audit import read_audit


def build_with_minimum(context):
    """Returns `build_dense` with a metric whose state is a minimum, which Keras adds up over replicas."""
    import keras

    class Smallest(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="smallest")
            self.least = self.add_variable((), "ones", name="least")

        def update_state(self, y, p, sample_weight=None):
            self.least.assign(keras.ops.minimum(self.least, keras.ops.min(p)))

        def result(self):
            return self.least

        def reset_state(self):
            self.least.assign(1.0)

    model = build_dense(context)
    model.compile(model.optimizer, model.loss, metrics=["accuracy", Smallest()])
    return model


def compare(directory: str) -> None:
    tmp_path = Path(directory)
    columns = classification_columns()
    data = ArrayDataset(columns)
    options = {"logical_devices": 2}
    mirrored = config(tmp_path / "two", strategy="mirrored", strategy_options=options, audit=True)
    two = Trainer(mirrored, build_with_minimum, data, eval=data).fit()
    said = two.model.evaluate({"x": columns["x"]}, columns["y"], batch_size=32, verbose=0, return_dict=True)
    assert two.eval_metrics["smallest"] == pytest.approx(said["smallest"], rel=1e-5)
    one = Trainer(config(tmp_path / "one", audit=True), build_dense, data, eval=data).fit()
    ours, theirs = read_audit(str(tmp_path / "two")), read_audit(str(tmp_path / "one"))
    assert all(np.array_equal(ours[step], theirs[step]) for step in range(40))
    np.testing.assert_allclose([h["loss"] for h in two.history], [h["loss"] for h in one.history], rtol=1e-4)


def compare_nadam(directory: str) -> None:
    """Nadam of tf_keras multiplies a product of its own once a step, whatever the number of devices."""
    data = ArrayDataset({name: value for name, value in classification_columns(128).items() if name in "xy"})
    mirrored = {"strategy": "mirrored", "strategy_options": {"logical_devices": 2}}
    two = train(data, f"{directory}/two", nadam, 8, **mirrored)
    one = train(data, f"{directory}/one", nadam, 8, strategy="one_device")
    for mine, theirs in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def draw(directory: str) -> None:
    """Dropout of tf_keras: replicas have masks of their own, and again the same ones after a restart."""
    data = ArrayDataset({name: value for name, value in classification_columns(128).items() if name in "xy"})
    mirrored = {"strategy": "mirrored", "strategy_options": {"logical_devices": 2}}
    masks_differ(data, Path(directory) / "masks", **mirrored)
    goes_on_to_the_bit(data, Path(directory), **mirrored)


def part(directory: str, replicas: int, epochs: int) -> None:
    """Trains to an epoch on so many replicas, from wherever the directory is."""
    mirrored = {"strategy": "mirrored", "strategy_options": {"logical_devices": replicas}} if replicas > 1 else {}
    data = ArrayDataset(classification_columns())
    Trainer(config(directory, epochs=epochs, **mirrored), build_dense, data, eval=data).fit()


def resume_on_others(directory: str) -> None:
    """Each run is a fork of a process that has its imports done: the number of logical devices is a process's own."""
    import multiprocessing

    import trainers.loop.session
    import trainers.models.adapters.keras3  # noqa: F401

    for name, replicas, epochs in (("one", 1, 2), ("up", 2, 1), ("up", 4, 2), ("down", 2, 1), ("down", 1, 2)):
        target = multiprocessing.get_context("fork").Process(
            target=part, args=(f"{directory}/{name}", replicas, epochs)
        )
        target.start()
        target.join()
        assert target.exitcode == 0, (name, replicas)
    expected = load_checkpoint(f"{directory}/one")
    for name in ("up", "down"):
        found = load_checkpoint(f"{directory}/{name}")
        assert found.step == expected.step == 40
        for group in ("model", "optimizer"):
            mine, theirs = (list(each.tensors(group).values()) for each in (found, expected))
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert [h["loss"] for h in found.state["training"]["history"]] == pytest.approx(
            [h["loss"] for h in expected.state["training"]["history"]], rel=1e-4
        )


def test_mirrored_two_devices_equal_one(tmp_path):
    said = in_process("compare", tmp_path)
    assert said.count("metric 'smallest' does not begin at 0: 2 replicas count from there") == 1


def test_mirrored_nadam_of_tf_keras_equals_one_device(tmp_path):
    in_process("compare_nadam", tmp_path)


def test_mirrored_dropout_of_tf_keras_draws_by_replica_and_step(tmp_path):
    in_process("draw", tmp_path)


def test_mirrored_run_goes_on_with_another_number_of_replicas_and_says_so(tmp_path):
    said = in_process("resume_on_others", tmp_path)
    assert "4 replicas (was 2)" in said
    assert "strategy one_device (was mirrored), 1 replicas (was 2)" in said


def in_process(name: str, directory: Path) -> str:
    """Runs a function of this file in a process of its own, and returns what it said on stderr."""
    # Logical devices can only be made before TensorFlow has computed anything.
    root = Path(__file__).parents[3]
    code = f"import sys; from tests.system.trainers.test_mirrored import {name}; {name}(sys.argv[1])"
    env = {**os.environ, "PYTHONPATH": str(root)}
    exit_code, said = run_in_session(code, str(directory), 500, str(root), env)
    assert exit_code == 0, said[-3000:]
    return said
