"""The rows that fill up the last batch of an evaluation are seen by nothing that compares rows with each other, nor counted."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig

COLUMNS = {name: values[:320] for name, values in classification_columns().items()}


def negatives(y, p):
    """Returns the loss of each row, for which the other rows of the batch are the wrong answers."""
    scores = tf.matmul(p, p, transpose_b=True)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.range(tf.shape(p)[0]), logits=scores)


def rows_compared_by_the_loss(kit, x):
    model = kit.Model(x, kit.layers.Dense(4)(x["x"]))
    model.compile(kit.optimizers.SGD(0.01), negatives)
    return model


def rows_compared_by_the_model(kit, x):
    squares = kit.layers.Lambda(lambda p: tf.matmul(p, p, transpose_b=True), output_shape=(None,))
    model = kit.Model(x, squares(kit.layers.Dense(4)(x["x"])))
    model.compile(kit.optimizers.SGD(0.01), kit.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def rows_seen_by_a_layer(kit, x):
    class Centred(kit.layers.Layer):
        def call(self, p):
            rest = p - tf.reduce_mean(p, 0, keepdims=True)
            return tf.concat([rest, tf.nn.softmax(p, axis=0)], 1)

    model = kit.Model(x, kit.layers.Dense(1)(Centred()(kit.layers.Dense(4)(x["x"]))))
    model.compile(kit.optimizers.SGD(0.01), "mse", metrics=["mae"])
    return model


def two_outputs_with_one_loss(kit, x):
    model = kit.Model(x, {name: kit.layers.Dense(1, name=name)(x["x"]) for name in ("y", "z")})
    model.compile(kit.optimizers.SGD(0.01), {"y": "mse"})
    return model


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize(
    "model",
    [rows_compared_by_the_loss, rows_compared_by_the_model, rows_seen_by_a_layer, two_outputs_with_one_loss],
    ids=lambda f: f.__name__,
)
def test_evaluation_with_a_padded_batch_equals_keras(tmp_path, library, model):
    kit = importlib.import_module(library)

    def build(context):
        kit.utils.set_random_seed(1)
        return model(kit, {"x": kit.Input((8,), name="x")})

    data = ArrayDataset({"x": COLUMNS["x"], "y": COLUMNS["y"]})
    settings = {"label": "y", "global_batch_size": 64, "eval_batch_size": 192, "tensorboard": False}
    result = Trainer(TrainerConfig(directory=str(tmp_path), steps=1, **settings), build, data, eval=data).fit()
    labels = {"y": COLUMNS["y"]} if model is two_outputs_with_one_loss else COLUMNS["y"]
    x = {"x": np.asarray(COLUMNS["x"])}
    expected = result.model.evaluate(x, labels, batch_size=192, verbose=0, return_dict=True)
    assert result.eval_metrics == pytest.approx(expected, rel=1e-5)


def test_model_whose_batches_have_one_size_is_evaluated_with_a_padded_batch(tmp_path):
    import keras

    def build(context):
        x = keras.Input(batch_shape=(32, 8, 1), name="x")
        model = keras.Model({"x": x}, keras.layers.Dense(1)(keras.layers.SimpleRNN(2, stateful=True)(x)))
        model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
        return model

    data = ArrayDataset({"x": COLUMNS["x"][:80, :, None], "y": COLUMNS["y"][:80]})
    settings = {"label": "y", "global_batch_size": 32, "steps": 1, "tensorboard": False}
    result = Trainer(TrainerConfig(directory=str(tmp_path), **settings), build, data, eval=data).fit()
    assert np.isfinite(result.eval_metrics["mae"])
