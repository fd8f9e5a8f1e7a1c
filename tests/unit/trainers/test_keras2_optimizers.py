"""Optimizers of tf_keras keep state that their `variables` do not list: a run goes on with it; Nadam steps as it does eagerly."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig
from trainers.callbacks import Callback
from trainers.checkpoints.checkpoint import CheckpointError

_STEPS = 8


def build(optimizer, own_step=False, **compiled):
    import tensorflow as tf
    import tf_keras

    class Own(tf_keras.Model):
        def train_step(self, data):
            x, y, _ = tf_keras.utils.unpack_x_y_sample_weight(data)
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
            return {"loss": loss}

    tf_keras.utils.set_random_seed(1)
    inputs = tf_keras.layers.Input((8,), name="x")
    hidden = tf_keras.layers.Dense(4, "tanh")(inputs)
    model = (Own if own_step else tf_keras.Model)({"x": inputs}, tf_keras.layers.Dense(1)(hidden))
    model.compile(optimizer(), "mse", **compiled)
    return model


def nadam():
    import tf_keras

    return tf_keras.optimizers.Nadam(0.01)


def adam():
    import tf_keras

    return tf_keras.optimizers.Adam(0.01)


def legacy_adam():
    import tf_keras

    return tf_keras.optimizers.legacy.Adam(0.01)


def scaled_nadam():
    import tf_keras

    return tf_keras.mixed_precision.LossScaleOptimizer(nadam(), initial_scale=2.0, dynamic_growth_steps=3)


class HalvedOnce(Callback):
    """Halves the rate after the first evaluation of all."""

    def on_evaluation(self, run, metrics):
        if run.step == _STEPS // 2:
            run.model.optimizer.learning_rate = 0.005


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset({name: value for name, value in classification_columns(128).items() if name in "xy"})


def train(data, directory, optimizer, steps, own_step=False, **changes):
    settings = {"label": "y", "global_batch_size": 32, "steps": steps, "steps_per_call": 2, "tensorboard": False}
    config = TrainerConfig(directory=str(directory), **{**settings, **changes})
    callbacks = [HalvedOnce()] if "eval_every_steps" in changes else []
    return Trainer(config, lambda context: build(optimizer, own_step), data, eval=data, callbacks=callbacks).fit().model


@pytest.mark.parametrize("optimizer", [nadam, scaled_nadam, legacy_adam])
def test_run_goes_on_to_the_bit_with_state_that_the_optimizer_does_not_list(data, tmp_path, optimizer):
    halved = {"eval_every_steps": _STEPS // 2}
    whole = train(data, tmp_path / "whole", optimizer, _STEPS, **halved)
    train(data, tmp_path / "parts", optimizer, _STEPS // 2, **halved)
    parts = train(data, tmp_path / "parts", optimizer, _STEPS, **halved)
    for mine, expected in zip(parts.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, expected)
    if optimizer is scaled_nadam:
        assert float(parts.optimizer.loss_scale) == float(whole.optimizer.loss_scale) == 8.0


@pytest.mark.parametrize(
    ("optimizer", "changes"),
    [(nadam, {}), (scaled_nadam, {}), (nadam, {"xla": True}), (nadam, {"own_step": True})],
    ids=["plain", "loss scale", "xla", "own step"],
)
def test_nadam_steps_in_a_graph_as_tf_keras_does_eagerly(data, tmp_path, optimizer, changes):
    ours = train(data, tmp_path, optimizer, _STEPS, **changes)
    theirs, feed = build(nadam, run_eagerly=True), data.feed(global_batch_size=32, seed=0)
    for batch in feed.dataset().take(_STEPS).map(feed.unpack):
        theirs.train_on_batch({"x": batch["x"]}, batch["y"])
    for mine, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=1e-6)


def test_checkpoint_of_an_earlier_version_goes_on_without_a_rate_and_is_refused_without_nadams_product(
    data, tmp_path, monkeypatch
):
    """It has what the optimizer lists alone."""
    whole = train(data, tmp_path / "whole", adam, _STEPS)
    with monkeypatch.context() as earlier:
        earlier.setattr("trainers.compat.tf_keras.unlisted_variables", lambda optimizer: [])
        for optimizer in (adam, nadam):
            train(data, tmp_path / optimizer.__name__, optimizer, _STEPS // 2)
    resumed = train(data, tmp_path / "adam", adam, _STEPS)
    for mine, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, expected)
    with pytest.raises(CheckpointError, match=r"it lacks .*Nadam or a loss scale was saved in part"):
        train(data, tmp_path / "nadam", nadam, _STEPS)
