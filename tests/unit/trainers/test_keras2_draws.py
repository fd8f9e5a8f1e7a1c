"""Random layers of tf_keras draw by the step: a run that goes on has the masks that it would have had."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig

_STEPS = 8


def build(context):
    """Dropout and noise, with a seed and without, in a layer that is called twice, and inside of a recurrent layer."""
    import tf_keras

    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(1)
    inputs = layers.Input((8,), name="x")
    hidden, drop = layers.Dense(8, "tanh")(inputs), layers.Dropout(0.3, seed=5)
    rows = layers.LSTM(4, dropout=0.2)(layers.Reshape((4, 2))(drop(hidden)))
    noisy = layers.GaussianNoise(0.1)(layers.RandomFlip("horizontal")(layers.Reshape((4, 2, 1))(drop(hidden))))
    model = tf_keras.Model({"x": inputs}, layers.Dense(1)(layers.Concatenate()([rows, layers.Flatten()(noisy)])))
    model.compile(tf_keras.optimizers.SGD(0.1), "mse")
    return model


def module(context):
    import tensorflow as tf
    import tf_keras

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.optimizer = tf_keras.optimizers.SGD(0.1)
            self.net = build(context)

        def compute_loss(self, features, labels, weights, training):
            answers = self.net(features, training=training)
            return tf.reduce_mean(tf.square(answers[:, 0] - tf.cast(labels, tf.float32)))

        def get_weights(self):
            return self.net.get_weights()

    return Module()


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset({name: value for name, value in classification_columns(128).items() if name in "xy"})


def train(data, directory, steps=_STEPS, model=build, **changes):
    settings = {"label": "y", "global_batch_size": 32, "steps_per_call": 2, "tensorboard": False}
    config = TrainerConfig(directory=str(directory), steps=steps, **{**settings, **changes})
    return Trainer(config, model, data).fit()


def apart(left, right) -> float:
    pairs = zip(left.model.get_weights(), right.model.get_weights(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


@pytest.mark.parametrize("model", [build, module])
def test_run_goes_on_to_the_bit(data, tmp_path, model):
    goes_on_to_the_bit(data, tmp_path, model=model)


def goes_on_to_the_bit(data, directory, **changes):
    whole = train(data, directory / "whole", **changes)
    train(data, directory / "parts", steps=4, **changes)
    resumed = train(data, directory / "parts", **changes)
    assert resumed.resumed_from == 4
    assert apart(resumed, whole) == 0


def dropping(seen):
    """Returns a build_model whose dropout of ones is seen by `seen`, whatever is learned."""

    def model(context):
        import tensorflow as tf
        import tf_keras

        class Seen(tf_keras.layers.Layer):
            def call(self, x):
                note = tf.numpy_function(lambda v: (seen.append(v.copy()), v)[1], [x], tf.float32)
                return tf.ensure_shape(note, x.shape)

        inputs = tf_keras.layers.Input((8,), name="x")
        drop, ones = tf_keras.layers.Dropout(0.5), tf.ones_like(inputs)
        kept = [Seen()(drop(ones)), Seen()(drop(ones))]
        made = tf_keras.Model({"x": inputs}, tf_keras.layers.Dense(1)(tf_keras.layers.Concatenate()(kept)))
        made.compile(tf_keras.optimizers.SGD(0.0), "mse")
        return made

    return model


@pytest.mark.parametrize("changes", [{}, {"accumulate_steps": 2}])
def test_each_call_step_and_slice_has_a_mask_of_its_own_at_the_rate(data, tmp_path, changes):
    masks_differ(data, tmp_path, **changes)


def masks_differ(data, tmp_path, **changes):
    seen: list[np.ndarray] = []
    result = train(data, tmp_path, model=dropping(seen), steps=4, steps_per_call=4, **changes)
    masks = [mask for mask in seen if 0 < mask.mean() < 2 and set(np.unique(mask)) == {0.0, 2.0}]
    assert len(masks) == 8 * (2 if changes else 1)
    assert len({mask.tobytes() for mask in masks}) == len(masks)
    assert np.concatenate(masks).mean() == pytest.approx(1, abs=0.1)
    # Afterwards the layer draws as tf_keras does: another mask at each call.
    answers = {result.model({"x": np.ones((1, 8), np.float32)}, training=True).numpy().tobytes() for _ in range(8)}
    assert len(answers) > 1
