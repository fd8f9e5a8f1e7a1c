"""What a model's own steps and results say of an evaluation: what Keras reports is reported."""

from __future__ import annotations

import importlib

import pytest
import tensorflow as tf

from engine import ConfigError
from tests.support.models import classification_columns
from trainers import ArrayDataset, EarlyStopping, Trainer, TrainerConfig

COLUMNS = {name: values[:320] for name, values in classification_columns().items() if name in ("x", "y")}


def own_results(kit):
    class Model(kit.Model):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            results = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**results, "twice": 2 * results["mae"], "squared": results["loss"] ** 2}

    return Model


def own_test_step(kit):
    class Model(kit.Model):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.tested = kit.metrics.Mean(name="tested")

        def test_step(self, data):
            x, y = data
            self.tested.update_state(y)
            results = super().test_step((x, y))
            return {**results, "twice": 2 * results["mae"], "rows": tf.shape(y)[0], "tested": self.tested.result()}

    return Model


def own_train_step(kit):
    class Model(kit.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(tf.cast(y[:, None], tf.float32) - self(x, training=True)))
            weights = self.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
            return {"loss": loss}

    return Model


def own_loss_of_test(kit):
    class Model(kit.Model):
        def test_step(self, data):
            x, y = data
            loss = tf.reduce_mean(tf.square(tf.cast(y[:, None], tf.float32) - self(x, training=False)))
            return {"loss": loss, "last": loss, "more": {"one": 1, "text": "none"}}

    return Model


def evaluated(tmp_path, library, model, **changes):
    """Returns the evaluation of ours, which has a last batch that is padded, and the metrics of Keras's own."""
    kit = importlib.import_module(library)

    def build(context):
        kit.utils.set_random_seed(1)
        inputs = {"x": kit.Input((8,), name="x")}
        built = model(kit)(inputs, kit.layers.Dense(1)(inputs["x"]))
        built.compile(kit.optimizers.SGD(0.01), "mse", metrics=["mae"])
        return built

    data = ArrayDataset(COLUMNS)
    settings = {"label": "y", "global_batch_size": 64, "eval_batch_size": 192, "tensorboard": False, **changes}
    result = Trainer(TrainerConfig(directory=str(tmp_path), steps=1, **settings), build, data, eval=data).fit()
    x = {"x": COLUMNS["x"]}
    return result, result.model.evaluate(x, COLUMNS["y"], batch_size=192, verbose=0, return_dict=True)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
@pytest.mark.parametrize("model", [own_results, own_test_step, own_train_step], ids=lambda f: f.__name__)
def test_evaluation_equals_keras(tmp_path, library, model):
    result, expected = evaluated(tmp_path, library, model)
    assert result.eval_metrics == pytest.approx(expected, rel=1e-5)
    assert ("mae" in result.metrics) == (model is not own_train_step)
    assert "tested" not in result.metrics  # the training does not count it


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_loss_that_only_an_own_test_step_knows_is_the_mean_of_the_batches(tmp_path, library):
    result, of_last_batch = evaluated(tmp_path, library, own_loss_of_test)
    p = result.model.predict({"x": COLUMNS["x"]}, verbose=0)
    assert result.eval_metrics["loss"] == pytest.approx(((p[:, 0] - COLUMNS["y"]) ** 2).mean(), rel=1e-5)
    assert result.eval_metrics["last"] == pytest.approx(of_last_batch["last"], rel=1e-5)
    assert set(result.eval_metrics) == {"loss", "last", "one"}  # the compiled mae counted nothing


def test_early_stopping_by_a_metric_that_an_own_test_step_does_not_count_is_refused(tmp_path):
    stopping = EarlyStopping(metric="mae", patience=1)
    with pytest.raises(ConfigError, match="'mae' not found; the model's test_step gave loss, last, one"):
        evaluated(tmp_path, "keras", own_loss_of_test, early_stopping=stopping)
