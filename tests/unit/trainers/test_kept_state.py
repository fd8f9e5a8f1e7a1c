"""What optimizers and layers keep beside their weights: a run that goes on has the bits of one that was not interrupted."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from engine.core.errors import ConfigError
from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import load_checkpoint

_STEPS = 4


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset({name: value for name, value in classification_columns(128).items() if name in "xy"})


def train(build, data, directory, steps=_STEPS, **changes):
    settings = {"label": "y", "global_batch_size": 32, "steps": steps, "steps_per_call": 2, "tensorboard": False}
    return Trainer(TrainerConfig(directory=str(directory), **{**settings, **changes}), build, data).fit()


def nadam_under_a_loss_scale(context):
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((8,), name="x")}
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs["x"]))
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.05), initial_scale=4.0), "mse")
    return model


def test_nadam_under_a_loss_scale_goes_on_to_the_bit(data, tmp_path):
    build = nadam_under_a_loss_scale
    whole = train(build, data, tmp_path / "whole").model
    train(build, data, tmp_path / "parts", steps=_STEPS // 2)
    parts = train(build, data, tmp_path / "parts").model
    for mine, expected in zip(parts.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_optimizer_of_several_is_refused_by_name(data, tmp_path):
    keras = pytest.importorskip("keras")
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("this Keras has no MultiOptimizer")

    def build(context):
        inputs = {"x": keras.Input((8,), name="x")}
        model = keras.Model(inputs, keras.layers.Dense(1)(inputs["x"]))
        several = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1), {".*bias": keras.optimizers.Adam()})
        model.compile(keras.optimizers.MultiOptimizer(several), "mse")
        return model

    with pytest.raises(ConfigError, match="optimizer is a MultiOptimizer"):
        train(build, data, tmp_path)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_variables_of_losses_and_of_calls_go_on_to_the_bit(data, tmp_path, library):
    """No Keras counts them among a model's: what a loss object and a loss function keep, and a tf.Variable of a Keras 3 layer."""
    import tensorflow as tf

    kit = importlib.import_module(library)

    class Growing(kit.losses.Loss):
        def __init__(self):
            super().__init__(name="growing")
            self.kept = {"calls": [tf.Variable(0.0, trainable=False)]}

        def call(self, y_true, y_pred):
            self.kept["calls"][0].assign_add(1.0)
            return tf.reduce_mean(tf.square(y_pred), -1) * self.kept["calls"][0]

    class Counts(kit.layers.Layer):
        def __init__(self):
            super().__init__()
            self.calls = tf.Variable(1.0, trainable=False)

        def call(self, x):
            return x * self.calls.assign_add(0.5)

    def build_model(context):
        kit.utils.set_random_seed(1)
        share = tf.Variable(1.0, trainable=False)
        inputs = {"x": kit.Input((8,), name="x")}
        hidden = Counts()(inputs["x"])
        model = kit.Model(inputs, {name: kit.layers.Dense(1, name=name)(hidden) for name in "yz"})
        shrinking = lambda y, p: tf.reduce_mean(tf.square(p), -1) * share.assign(share * 0.5)
        model.compile(kit.optimizers.SGD(0.001), {"y": Growing(), "z": shrinking})
        return model

    def run(directory, **changes):
        settings = {"label": ["y", "z"], "eval_every_steps": _STEPS, "steps": _STEPS, **changes}
        config = TrainerConfig(
            directory=str(directory), global_batch_size=32, steps_per_call=2, tensorboard=False, **settings
        )
        return Trainer(config, build_model, rows, eval=rows).fit()

    rows = ArrayDataset({**data.columns, "z": data.columns["y"]})
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", steps=_STEPS // 2)  # its end is evaluated, where the other is not
    parts = run(tmp_path / "parts")
    for mine, theirs in zip(parts.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert parts.eval_metrics == whole.eval_metrics
    loss = load_checkpoint(str(tmp_path / "parts")).state["variables"]["loss"]
    assert {name for name, *_ in loss} == {"growing/kept/calls/0", "<lambda>/share"}


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_export_of_a_layer_that_counts_in_its_call_answers_as_the_model(tmp_path, library):
    import tensorflow as tf

    from trainers.export.forward import ForwardPass

    kit = importlib.import_module(library)

    class Counts(kit.layers.Layer):
        def __init__(self):
            super().__init__()
            self.mean = kit.metrics.Mean(name="mean")

        def call(self, x):
            self.mean.update_state(x)
            return x

    inputs = kit.layers.Input((3,), name="x")
    model = kit.Model({"x": inputs}, kit.layers.Dense(1)(Counts()(inputs)))
    model.compile("sgd", "mse")
    forward = ForwardPass(model)
    asked = tf.function(lambda x: forward({"x": x})).get_concrete_function(tf.TensorSpec([None, 3]))
    tf.saved_model.save(forward, str(tmp_path), signatures=asked)
    answer = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](x=tf.ones([2, 3]))["outputs"]
    np.testing.assert_allclose(answer, model({"x": tf.ones([2, 3])}), rtol=1e-6)
