"""A tf.Module with a step of its own: its parts of Keras 3, and optimizers of every kind; the oracle is a loop in plain TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

from engine.dataset.arrays import ArrayDataset
from tests.support.models import classification_columns
from trainers import Trainer, TrainerConfig
from trainers.export import export_saved_model

_STEPS = 6


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset(classification_columns(192))


def tower(optimizer):
    """A module whose weights are in a layer, a model and a variable of Keras 3, and in a variable of TensorFlow."""
    import keras
    import tensorflow as tf

    class Tower(tf.Module):
        def __init__(self):
            super().__init__()
            keras.utils.set_random_seed(1)
            self.optimizer = optimizer
            self.layers = [keras.layers.Dense(4, "tanh"), keras.layers.BatchNormalization()]
            self.head = keras.Sequential([keras.layers.Dense(1)])
            self.scale = keras.Variable(1.5, name="scale")
            self.shift = tf.Variable(0.25, name="shift")

        def __call__(self, features, training=False):
            hidden = self.layers[0](features["x"])
            return self.head(self.layers[1](hidden, training=training)) * self.scale + self.shift

        def compute_loss(self, features, labels, weights, training):
            wanted = tf.cast(tf.reshape(labels, [-1, 1]), tf.float32)
            return tf.reduce_mean(tf.square(self(features, training) - wanted))

    return Tower()


def weights(module):
    layers = [*module.layers, module.head]
    return [w for layer in layers for w in layer.get_weights()] + [module.scale.numpy(), module.shift.numpy()]


def plain_loop(data, optimizer, apply):
    """The same module in a loop of TensorFlow alone, on the same batches."""
    import tensorflow as tf

    module, feed = tower(optimizer), data.feed(global_batch_size=32)
    for batch in feed.dataset().take(_STEPS).map(feed.unpack):
        with tf.GradientTape() as tape:
            loss = module.compute_loss({"x": batch["x"]}, batch["y"], None, True)
        parts = [*module.layers, module.head]
        variables = [v for part in parts for v in part.trainable_variables] + [module.scale]
        found = [v.value for v in variables] + [module.shift]
        apply(list(zip(tape.gradient(loss, found), found)))
    return weights(module)


def ours(data, directory, optimizer, steps=_STEPS, **more):
    settings = {
        "label": "y",
        "features": ["x"],
        "global_batch_size": 32,
        "steps": steps,
        "steps_per_call": 2,
        "tensorboard": False,
    }
    config = TrainerConfig(directory=str(directory), **settings, **more)
    return Trainer(config, lambda context: tower(optimizer()), data).fit()


def optimizers():
    import keras
    import tf_keras

    theirs = tf_keras.optimizers
    return {
        "keras": lambda: keras.optimizers.SGD(0.1),
        "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
        "loss scale factor": lambda: keras.optimizers.SGD(0.1, loss_scale_factor=128.0),
        "tf_keras": lambda: theirs.SGD(theirs.schedules.PiecewiseConstantDecay([100], [0.1, 0.0])),
        "tf_keras legacy": lambda: theirs.legacy.SGD(0.1),
        "tf_keras loss scale": lambda: tf_keras.mixed_precision.LossScaleOptimizer(theirs.SGD(0.1)),
    }


@pytest.mark.parametrize(
    "kind", ["keras", "loss scale", "loss scale factor", "tf_keras", "tf_keras legacy", "tf_keras loss scale"]
)
def test_module_of_keras_layers_learns_as_in_plain_tensorflow(data, tmp_path, kind):
    def descent(pairs):
        for gradient, variable in pairs:
            variable.assign_sub(0.1 * gradient)

    result = ours(data, tmp_path, optimizers()[kind])
    for mine, theirs in zip(weights(result.model), plain_loop(data, None, descent), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_module_of_keras_layers_goes_on_and_is_exported_with_all_its_weights(data, tmp_path):
    import keras
    import tensorflow as tf

    adam = lambda: keras.optimizers.Adam(0.05)
    whole = ours(data, tmp_path / "whole", adam)
    ours(data, tmp_path / "parts", adam, steps=4)
    resumed = ours(data, tmp_path / "parts", adam)
    assert resumed.resumed_from == 4
    for mine, theirs in zip(weights(resumed.model), weights(whole.model), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    spec = {"x": tf.io.FixedLenFeature([8], tf.float32)}
    path = export_saved_model(whole.model, str(tmp_path / "out"), raw_feature_spec=spec, label="y")
    rows = data.columns["x"][:3]
    answer = tf.saved_model.load(str(path)).signatures["raw_features"](x=tf.constant(rows))
    np.testing.assert_allclose(answer["outputs"], whole.model({"x": tf.constant(rows)}), rtol=1e-6)


def test_nested_outputs_are_exported_by_joined_names(tmp_path):
    import tensorflow as tf

    class Nested(tf.Module):
        def __call__(self, features):
            return {"a": {"b": features["x"] + 1, "c": (features["x"], features["x"] * 2)}, "d": features["x"] * 3}

    spec = {"x": tf.io.FixedLenFeature([2], tf.float32)}
    path = export_saved_model(Nested(), str(tmp_path), raw_feature_spec=spec)
    answer = tf.saved_model.load(str(path)).signatures["raw_features"](x=tf.constant([[1.0, 2.0]]))
    values = {name: value.numpy().ravel().tolist() for name, value in answer.items()}
    assert values == {"a/b": [2, 3], "a/c/0": [1, 2], "a/c/1": [2, 4], "d": [3, 6]}


def test_averages_that_the_optimizer_of_a_module_keeps_are_its_weights_at_the_end(data, tmp_path):
    import keras

    average = lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)
    mean: list[np.ndarray] = []

    def descent(pairs):
        for i, (gradient, variable) in enumerate(pairs):
            variable.assign_sub(0.1 * gradient)
            if len(mean) <= i:
                mean.append(variable.numpy())  # the first step's weights begin the average
            else:
                mean[i] = 0.5 * mean[i] + 0.5 * variable.numpy()

    plain_loop(data, None, descent)
    result = ours(data, tmp_path, average)
    parts = [*result.model.layers, result.model.head]
    trained = [v for part in parts for v in part.trainable_variables] + [result.model.scale, result.model.shift]
    for mine, theirs in zip(trained, mean, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-4, atol=1e-5)
