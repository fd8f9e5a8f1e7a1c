"""Two replicas train as one does, whatever the loss, the step, the averages and the metrics are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig

STEPS = 6


def functional(keras, model_class=None, loss="binary_crossentropy", optimizer=None, metrics=()):
    """Returns a small compiled model without randomness."""
    keras.utils.set_random_seed(1)
    inputs = {"x": keras.layers.Input((8,), name="x")}
    output = keras.layers.Dense(1, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(0.1))(inputs["x"])
    model = (model_class or keras.Model)(inputs, output)
    model.compile(optimizer or keras.optimizers.SGD(0.1), loss, metrics=list(metrics))
    return model


def own_mean(keras):
    import tensorflow as tf

    class OwnMean(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return tf.reduce_mean(tf.square(tf.cast(tf.reshape(y, (-1, 1)), tf.float32) - y_pred))

    return functional(keras, OwnMean)


def own_step(keras):
    import tensorflow as tf

    class OwnStep(keras.Model):
        def train_step(self, data):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            weights = self.trainable_variables
            self.optimizer.apply_gradients(zip([-g for g in tape.gradient(loss, weights)], weights))
            return {"loss": loss}

    return functional(keras, OwnStep)


def weighted(keras):
    return functional(keras, loss=keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight"))


def summed(keras):
    loss = keras.losses.BinaryCrossentropy(reduction="sum")
    return functional(keras, loss=loss, optimizer=keras.optimizers.SGD(1e-3))


def averaging(keras):
    return functional(keras, optimizer=keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))


def counting(keras):
    class Share(keras.metrics.Metric):
        """The share of positive answers of the last batch: a variable whose mean over the replicas counts."""

        def __init__(self, name="share", **options):
            super().__init__(name=name, **options)
            self.share = self.add_variable((), "zeros", aggregation="mean", name="share")

        def update_state(self, y, p, sample_weight=None):
            positive = keras.ops.cast(p > 0.5, "float32")
            self.share.assign(
                keras.ops.sum(positive) / keras.ops.maximum(keras.ops.sum(keras.ops.ones_like(positive)), 1)
            )

        def result(self):
            return self.share

    return functional(keras, metrics=[Share()])


def embedding(keras):
    keras.utils.set_random_seed(1)
    inputs = {"c": keras.Input((), dtype="int64", name="c")}
    table = keras.layers.Embedding(10, 4, embeddings_initializer="ones")(keras.layers.Reshape((1,))(inputs["c"]))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Flatten()(table)))
    model.compile(keras.optimizers.SGD(1.0), "mse")
    return model


def masked(keras, reduction="sum_over_batch_size"):
    keras.utils.set_random_seed(1)
    inputs = {"words": keras.layers.Input((6,), name="words", dtype="int64")}
    hidden = keras.layers.Embedding(20, 4, mask_zero=True, embeddings_regularizer="l2")(inputs["words"])
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(hidden))
    model.compile(keras.optimizers.SGD(1.0), keras.losses.BinaryCrossentropy(reduction=reduction))
    return model


def one_number(keras):
    """A loss function that takes the mean itself."""
    import tensorflow as tf

    return functional(keras, loss=lambda y, p: tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - p)))


def counting_layer(keras):
    """A layer that counts a mean of its rows, which is no number where there are none: 1 where there are."""
    import tensorflow as tf

    class Counting(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.ones = keras.metrics.Mean(name="ones")

        def call(self, x):
            self.ones.update_state(0 * tf.reduce_mean(x) + 1)
            return x

    keras.utils.set_random_seed(1)
    inputs = {"x": keras.layers.Input((8,), name="x")}
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(Counting()(inputs["x"])))
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


def own_metrics(keras):
    class OwnMetrics(keras.Model):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            results = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**results, "same": self.metrics[-1].result()}

    return functional(keras, OwnMetrics, metrics=["accuracy"])


def uncounted(keras):
    """A test_step that counts its loss and one of two metrics, which is 0."""
    import tensorflow as tf

    class OwnTest(keras.Model):
        def test_step(self, data):
            x, y = data[:2]
            p = self(x, training=False)
            loss = self.compute_loss(x, y, p)
            self.mean_loss.update_state(loss)
            self.none.update_state(tf.zeros_like(p))
            return {"loss": self.mean_loss.result(), "none": self.none.result()}

    model = functional(keras, OwnTest, metrics=["mae"])
    model.mean_loss, model.none = keras.metrics.Mean(name="loss_of_test"), keras.metrics.Sum(name="none")
    return model


def masked_in_slices(keras):
    return masked(keras)


def masked_by_weights(keras):
    return masked(keras, "mean_with_sample_weight")


CASES = {
    "compute_loss that is a plain mean": (own_mean, {}),
    "train_step of its own": (own_step, {}),
    "mean_with_sample_weight": (weighted, {"weight": "w"}),
    "mean_with_sample_weight in slices": (weighted, {"weight": "w", "accumulate_steps": 2}),
    "sum": (summed, {}),
    "use_ema": (averaging, {}),
    "metric that is a mean over replicas": (counting, {}),
    "clipped embedding": (embedding, {"clip_norm": 0.01}),
    "skipped step": (functional, {"on_nan": "skip"}),
    "loss that is one number": (one_number, {}),
    "metric of a layer": (counting_layer, {}),
    "compute_metrics of its own, compiled": (own_metrics, {"xla": True}),
    "metric that no step counts": (uncounted, {}),
    "mask": (masked, {"label": "tags"}),
    "mask in slices": (masked_in_slices, {"label": "tags", "accumulate_steps": 2}),
    "mask, mean_with_sample_weight": (masked_by_weights, {"label": "tags"}),
}


def compare(directory: str, name: str, library: str) -> None:
    """Trains a case on two replicas and on one; a process of its own for each, since all of a process share their keys of
    collectives: https://github.com/tensorflow/tensorflow/blob/v2.18.0/tensorflow/python/distribute/cross_device_utils.py"""
    import importlib

    keras = importlib.import_module(library)
    build, changes = CASES[name]
    columns = classification_columns()
    weight = np.random.default_rng(3).uniform(0.5, 2.0, 640).astype(np.float32)
    words = np.random.default_rng(4).integers(1, 20, (640, 6))
    words[np.arange(6) >= np.arange(640)[:, None] % 32 // 5] = (
        0  # the halves of a batch differ in how much the mask leaves
    )
    columns |= {"words": words, "tags": (words % 3 == 0).astype(np.float32)[:, :, None]}
    data = {**columns, "x": columns["x"].copy(), "w": weight}
    if "on_nan" in changes:
        data["x"][17] = np.nan
    train, evaluation, results = ArrayDataset(data), ArrayDataset({**columns, "w": weight}), []
    two_devices = {"strategy": "mirrored", "strategy_options": {"logical_devices": 2}}
    for more in (two_devices, {"strategy": "one_device"}):  # the devices are made first
        settings = {
            "directory": f"{directory}/{len(results)}", "label": "y", "global_batch_size": 64, "steps": STEPS,
            "steps_per_call": 3, "tensorboard": False, "eval_batch_size": 192, **changes, **more,
        }  # fmt: skip
        results.append(Trainer(TrainerConfig(**settings), lambda _: build(keras), train, eval=evaluation).fit())
    two, one = results
    start = build(keras).get_weights()
    assert max(np.abs(a - b).max() for a, b in zip(one.model.get_weights(), start)) > 1e-3
    for a, b in zip(two.model.get_weights(), one.model.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-5)
    metrics = one.eval_metrics if build is not counting else {"loss": one.eval_metrics["loss"]}
    if build is own_metrics:
        metrics.pop("same", None)  # replicas report metrics alone
    if build is uncounted:  # the mean of its losses depends on how many rows a replica has
        assert two.eval_metrics.keys() == metrics.keys() == {"loss", "loss_of_test", "none"}
        metrics = {"none": 0.0}
    np.testing.assert_allclose([two.eval_metrics[k] for k in metrics], list(metrics.values()), rtol=1e-4)
    if build is counting:
        assert 0 < two.eval_metrics["share"] <= 1


def run_all(directory: str, library: str) -> None:
    """Runs each case in a fork of a process that has its imports done."""
    import importlib
    import multiprocessing

    for module in (library, "tensorflow", "trainers.loop.session", "trainers.models.adapters.keras3"):
        importlib.import_module(module)
    only = (own_mean, own_step, summed, averaging, functional, masked, own_metrics) if library == "tf_keras" else None
    failed = []
    for name in [n for n, (build, _) in CASES.items() if only is None or build in only]:
        process = multiprocessing.get_context("fork").Process(
            target=compare, args=(f"{directory}/{name}", name, library)
        )
        process.start()
        process.join()
        failed += [name] if process.exitcode else []
    assert not failed, failed


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_two_replicas_equal_one(tmp_path, library):
    # In a process of its own: logical devices can only be made before TensorFlow has computed anything.
    root = Path(__file__).parents[3]
    code = "import sys; from tests.system.trainers.test_replicas import run_all; run_all(*sys.argv[1:])"
    words = [sys.executable, "-c", code, str(tmp_path), library]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(words, env=env, cwd=root, capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
