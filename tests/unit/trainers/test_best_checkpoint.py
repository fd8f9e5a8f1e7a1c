"""What early stopping restores is what is exported, averages included; and both Keras generations export from a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import classification_columns
from trainers import ArrayDataset, EarlyStopping, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import load_checkpoint
from trainers.export.from_checkpoint import export_checkpoint, rebuild_model


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    columns = classification_columns()
    return ArrayDataset({"x": columns["x"], "y": columns["y"]})


def build_worsening(context):
    """Returns a model that learns for 12 steps and unlearns after them."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.Input((8,), name="x")}
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs["x"]))
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([12], [0.5, -0.5])
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy")
    return model


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_best_weights_are_returned_and_exported(data, tmp_path, ema_decay):
    stopping = EarlyStopping(patience=3)
    config = TrainerConfig(
        directory=str(tmp_path / "run"), label="y", global_batch_size=64, steps=100, steps_per_call=4,
        eval_every_steps=4, early_stopping=stopping, ema_decay=ema_decay, tensorboard=False,
    )  # fmt: skip
    result = Trainer(config, build_worsening, data, eval=data).fit()
    best = min(result.history, key=lambda h: h["loss"])
    assert result.stopped_early and best["step"] < result.steps
    columns = {"x": data.columns["x"]}

    def loss_of(model):
        answer = np.clip(np.asarray(model(columns))[:, 0], 1e-7, 1 - 1e-7)
        y = data.columns["y"]
        return float(-np.mean(y * np.log(answer) + (1 - y) * np.log(1 - answer)))

    assert loss_of(result.model) == pytest.approx(best["loss"], rel=1e-4)
    rebuilt, _ = rebuild_model(config.directory, build_worsening, None, feature_spec=dict(data.feature_spec()))
    assert loss_of(rebuilt) == pytest.approx(best["loss"], rel=1e-4)
    assert load_checkpoint(config.directory).step == best["step"]
    last, _ = rebuild_model(result.checkpoint, build_worsening, None, feature_spec=dict(data.feature_spec()))
    assert loss_of(last) > best["loss"] * 1.01


def build_with(name):
    def build(context):
        import importlib

        keras = importlib.import_module(name)
        keras.utils.set_random_seed(1)
        inputs = {"x": keras.layers.Input((8,), name="x")}
        hidden = keras.layers.BatchNormalization()(keras.layers.Dense(4)(inputs["x"]))
        model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
        model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
        return model

    return build


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_both_keras_generations_export_from_their_checkpoints_in_one_process(data, tmp_path, ema_decay):
    pytest.importorskip("tf_keras")
    import tensorflow as tf

    for name in ("tf_keras", "keras"):
        config = TrainerConfig(
            directory=str(tmp_path / name), label="y", global_batch_size=64, steps=8, ema_decay=ema_decay,
            tensorboard=False,
        )  # fmt: skip
        result = Trainer(config, build_with(name), data).fit()
        version = export_checkpoint(
            config.directory, build_with(name), tmp_path / f"{name}-models", transform_graph=None,
            raw_feature_spec=dict(data.feature_spec()),
        )  # fmt: skip
        rows = data.columns["x"][:16]
        served = tf.saved_model.load(str(version)).signatures["raw_features"](x=tf.constant(rows))
        expected = np.asarray(result.model({"x": tf.constant(rows)}))
        np.testing.assert_allclose(next(iter(served.values())).numpy(), expected, atol=1e-6)
