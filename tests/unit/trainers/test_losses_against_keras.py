"""Losses that are not a plain mean, and gradients with duplicate ids: the update is Keras's, however the batch is cut."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig

STEPS = 8


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    columns = classification_columns()
    weight = np.random.default_rng(3).uniform(0.5, 2.0, 640).astype(np.float32)
    return ArrayDataset({**columns, "w": weight})


@pytest.fixture(scope="module")
def batches(data):
    feed = data.feed(global_batch_size=64)
    return [
        ({"x": b["x"].numpy()}, b["y"].numpy(), b["w"].numpy()) for b in feed.dataset().take(STEPS).map(feed.unpack)
    ]


def model_with(reduction, rate=0.1, penalty=True):
    def build(context=None):
        import keras

        keras.utils.set_random_seed(1)
        inputs = {"x": keras.Input((8,), name="x")}
        regularizer = keras.regularizers.L2(0.1) if penalty else None
        output = keras.layers.Dense(1, activation="sigmoid", kernel_regularizer=regularizer)(inputs["x"])
        model = keras.Model(inputs, output)
        model.compile(keras.optimizers.SGD(rate), keras.losses.BinaryCrossentropy(reduction=reduction))
        return model

    return build


def ours(data, tmp_path, build, **changes):
    settings = {"label": "y", "global_batch_size": 64, "steps": STEPS, "steps_per_call": 4, "tensorboard": False}
    return Trainer(TrainerConfig(directory=str(tmp_path), **{**settings, **changes}), build, data, eval=data).fit()


def apart(left, right) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(left.get_weights(), right.get_weights()))


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight", "sum_over_batch_size"])
def test_loss_reduction_equals_keras_whole_and_in_slices(data, batches, tmp_path, reduction):
    build = model_with(reduction, rate=0.1 / (64 if reduction == "sum" else 1))
    keras_model = build()
    for x, y, w in batches:
        keras_model.train_on_batch(x, y, sample_weight=w)
    # 192 does not divide 640: the last batch of the evaluation is padded.
    whole = ours(data, tmp_path / "1", build, weight="w", eval_batch_size=192)
    slices = ours(data, tmp_path / "4", build, weight="w", accumulate_steps=4)
    assert apart(whole.model, keras_model) < 2e-6
    assert apart(slices.model, keras_model) < 2e-6
    loss = keras_model.evaluate(
        {"x": data.columns["x"]}, data.columns["y"], sample_weight=data.columns["w"], batch_size=192, verbose=0
    )
    assert whole.eval_metrics["loss"] == pytest.approx(loss, rel=1e-5)


def test_clip_norm_counts_the_rows_of_one_id_together(data, tmp_path):
    def build(context):
        import keras

        keras.utils.set_random_seed(1)
        inputs = {"c": keras.Input((), dtype="int64", name="c")}
        same = keras.layers.Lambda(lambda t: t * 0)(keras.layers.Reshape((1,))(inputs["c"]))
        table = keras.layers.Embedding(2, 4, embeddings_initializer="ones", name="table")
        output = keras.layers.Dense(1, kernel_initializer="ones", trainable=False)(keras.layers.Flatten()(table(same)))
        model = keras.Model(inputs, output)
        model.compile(keras.optimizers.SGD(1.0), "mse")
        return model

    result = ours(data, tmp_path, build, steps=1, steps_per_call=1, clip_norm=0.01)
    step = result.model.get_layer("table").get_weights()[0] - 1.0
    assert np.linalg.norm(step) == pytest.approx(0.01, rel=1e-4)


def test_losses_that_differ_in_reduction_refuse_to_be_cut(data, tmp_path):
    def build(context):
        import keras

        inputs = {"x": keras.Input((8,), name="x")}
        heads = {"y": keras.layers.Dense(1, name="y")(inputs["x"]), "w": keras.layers.Dense(1, name="w")(inputs["x"])}
        model = keras.Model(inputs, heads)
        losses = keras.losses.MeanSquaredError
        model.compile("sgd", {"y": losses(reduction="sum"), "w": losses()})
        return model

    assert ours(data, tmp_path / "1", build, label=["y", "w"]).steps == STEPS
    with pytest.raises(ValueError, match="differ in their reduction"):
        ours(data, tmp_path / "2", build, label=["y", "w"], accumulate_steps=2)


def test_batch_norm_in_slices_is_said(data, tmp_path, capfd):
    from tests.support.models import build_keras3

    ours(data, tmp_path, build_keras3, accumulate_steps=2)
    assert "batch_normalization" in (said := capfd.readouterr().err) and "each slice by its own mean" in said
