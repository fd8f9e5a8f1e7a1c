"""Options of the loop, each held to what it must equal."""

from __future__ import annotations

import json
import re
import resource

import numpy as np
import pytest

from engine.core import exit_codes
from engine.core.configs import decode
from engine.core.errors import ConfigError
from tests.support.bits import weights_of
from tests.support.models import build_dense, build_keras3, classification_columns
from trainers import ArrayDataset, CheckpointConfig, EarlyStopping, LearningRate, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import CheckpointError
from trainers.checkpoints.directory import checkpoint_steps
from trainers.supervision.tf_config import Task, task_from_json, tf_config
from trainers.supervision.worker import rendezvous_address


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset(classification_columns())


def config(directory, **changes) -> TrainerConfig:
    settings = {"label": "y", "global_batch_size": 32, "epochs": 2, "steps_per_call": 5, "tensorboard": False}
    return TrainerConfig(directory=str(directory), **{**settings, **changes})


def dense_keras2(context):
    import tf_keras

    tf_keras.utils.set_random_seed(1)
    inputs = {"x": tf_keras.Input((8,), name="x")}
    hidden = tf_keras.layers.BatchNormalization()(tf_keras.layers.Dense(8, activation="tanh")(inputs["x"]))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(tf_keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model


def module_model(context):
    import keras
    import tensorflow as tf

    class Linear(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.zeros([8, 1]), name="w")
            self.optimizer = keras.optimizers.SGD(0.5)

        def compute_loss(self, features, labels, weights, training):
            logits = tf.squeeze(features["x"] @ self.w, 1)
            losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
            return tf.reduce_mean(losses if weights is None else losses * weights)

        def compute_metrics(self, features, labels, weights):
            right = tf.equal(tf.cast(labels, tf.bool), tf.squeeze(features["x"] @ self.w, 1) > 0)
            return {"accuracy": (tf.reduce_sum(tf.cast(right, tf.float32)), tf.size(right))}

    return Linear()


@pytest.mark.parametrize("build", [dense_keras2, module_model])
def test_fit_other_kinds_of_model_learn_and_resume(data, tmp_path, build):
    first = Trainer(config(tmp_path, epochs=4), build, data, eval=data).fit()
    assert first.eval_metrics["accuracy"] > 0.8
    more = Trainer(config(tmp_path, epochs=5), build, data, eval=data).fit()
    assert more.resumed_from == first.steps and more.steps == 100


def test_fit_accumulated_gradients_equal_the_whole_batch(data, tmp_path):
    whole = Trainer(config(tmp_path / "a"), build_dense, data, eval=data).fit()
    parts = Trainer(config(tmp_path / "b", accumulate_steps=4), build_dense, data, eval=data).fit()
    np.testing.assert_allclose(parts.eval_metrics["loss"], whole.eval_metrics["loss"], rtol=1e-4)


def test_fit_equals_keras_fit_on_the_same_batches(data, tmp_path):
    import tensorflow as tf

    result = Trainer(config(tmp_path, epochs=1), build_dense, data, eval=data).fit()
    model = build_dense(None)
    feed = data.feed(global_batch_size=32)
    batches = feed.dataset().take(20).map(feed.unpack).map(lambda b: ({"x": b["x"]}, b["y"]))
    model.fit(batches, verbose=0)
    for ours, theirs in zip(result.model.get_weights(), model.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)
    loss, accuracy = model.evaluate({"x": tf.constant(data.columns["x"])}, data.columns["y"], verbose=0)
    assert result.eval_metrics["loss"] == pytest.approx(loss, rel=1e-4)
    assert result.eval_metrics["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_fit_evaluation_of_a_padded_last_batch_counts_every_row_once(tmp_path):
    data, odd = ArrayDataset(classification_columns()), ArrayDataset(classification_columns(101, seed=3))
    result = Trainer(config(tmp_path), build_dense, data, eval=odd).fit()
    loss, accuracy = result.model.evaluate({"x": odd.columns["x"]}, odd.columns["y"], verbose=0)
    assert result.eval_metrics["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert result.eval_metrics["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "mixed_float16", "clip_norm": 1.0},
        {"precision": "mixed_bfloat16"},
        {"xla": True},
        {"class_weights": {0: 1.0, 1: 2.0}},
        {"learning_rate": LearningRate(peak=0.1, warmup_steps=5, decay="cosine")},
        {"deterministic": False},
    ],
)
def test_fit_options_learn(data, tmp_path, changes):
    result = Trainer(config(tmp_path, epochs=4, **changes), build_dense, data, eval=data).fit()
    assert result.eval_metrics["accuracy"] > 0.8
    assert all(result.metrics[k] >= 0 for k in ("examples_per_s", "input_wait_share", "step_ms_p50", "step_ms_p95"))


def test_fit_early_stopping_returns_the_best_and_says_so(data, tmp_path, capsys):
    stopping = EarlyStopping(metric="loss", patience=1, min_delta=10.0)
    result = Trainer(config(tmp_path, epochs=9, early_stopping=stopping), build_dense, data, eval=data).fit()
    assert result.stopped_early and result.epochs == 2
    assert result.best_checkpoint.endswith("step-000000000020")
    assert re.search(r"early stopping at step 40: loss \S+ of step 20 was the best", capsys.readouterr().err)
    Trainer(config(tmp_path, epochs=12, early_stopping=stopping), build_dense, data, eval=data).fit()
    again = r"nothing is trained, since this run was stopped early at step 40: loss \S+ of step 20 was the best"
    assert re.search(again, capsys.readouterr().err)


def test_fit_early_stopping_without_one_evaluation_that_is_a_number_says_so(data, tmp_path, capsys):
    columns = classification_columns()
    nowhere = ArrayDataset(columns | {"x": np.full_like(columns["x"], np.nan)})
    stopping = EarlyStopping(metric="loss", patience=2)
    result = Trainer(config(tmp_path, epochs=9, early_stopping=stopping), build_dense, data, eval=nowhere).fit()
    assert result.stopped_early and result.steps == 40 and result.best_checkpoint is None
    assert "step 40: loss was a finite number in none of its evaluations" in capsys.readouterr().err


def test_fit_full_disk_keeps_the_old_checkpoint_and_says_so(data, tmp_path, capsys):
    settings = {"checkpoint": CheckpointConfig(every_steps=5, asynchronous=False)}
    Trainer(config(tmp_path, epochs=1, **settings), build_keras3, data).fit()
    before = weights_of(str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="could not be written") as found:
            Trainer(config(tmp_path, epochs=2, **settings), build_keras3, data).fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert found.value.exit_code == exit_codes.FAILED, "no fault of the settings: what is restarted may succeed"
    assert checkpoint_steps(str(tmp_path))[-1] == 20 and weights_of(str(tmp_path)) == before
    assert not list((tmp_path / "checkpoints").glob(".*tmp*")), "nothing half written stays"
    assert "was not written" in capsys.readouterr().err
    again = Trainer(config(tmp_path, epochs=2, **settings), build_keras3, data).fit()
    assert again.resumed_from == 20 and again.steps == 40


def test_fit_logs_that_cannot_be_written_are_said_once_and_stop_no_training(data, tmp_path, capsys):
    (tmp_path / "logs").write_text("where TensorBoard's directory would be")
    settings = {"tensorboard": True, "log_every_steps": 5}
    result = Trainer(config(tmp_path, epochs=1, **settings), build_dense, data, eval=data).fit()
    assert result.steps == 20 and result.checkpoint
    assert capsys.readouterr().err.count("values of step 5 were not written") == 1


def test_fit_warm_start_takes_weights_over(data, tmp_path):
    first = Trainer(config(tmp_path / "a", epochs=3), build_dense, data, eval=data).fit()
    from trainers.checkpoints.checkpoint import load_checkpoint

    names = [n for n, _, _ in load_checkpoint(first.checkpoint).state["variables"]["model"]]
    assert len(names) == 4
    first.model.save(tmp_path / "model.keras")
    warm = config(tmp_path / "b", steps=1, epochs=None, warm_start=str(tmp_path / "model.keras"))
    second = Trainer(warm, build_dense, data, eval=data).fit()
    assert second.eval_metrics["loss"] == pytest.approx(first.eval_metrics["loss"], rel=0.2)


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("epochs", None),
        ("steps", 3),
        ("global_batch_size", 0),
        ("strategy", "x"),
        ("precision", "int4"),
        ("ema_decay", 2.0),
        ("ema_decay", "0.9"),
        ("xla", "yes"),
        ("global_batch_size", True),
        ("profile_steps", [10]),
        ("class_weights", {"late": 2.0}),
        ("class_weights", [1.0, 2.0]),
        ("checkpoint", 5),
        ("early_stopping", "loss"),
    ],
)
def test_config_bad_value_is_named(tmp_path, key, bad):
    with pytest.raises(ConfigError, match=key):
        config(tmp_path, **{key: bad})


def test_config_nested_settings_are_taken_as_mappings_and_held_to_their_names(tmp_path):
    made = config(tmp_path, checkpoint={"every_steps": 5}, learning_rate=0.01, early_stopping={"metric": "auc"})
    assert made.checkpoint == CheckpointConfig(every_steps=5) and made.learning_rate == LearningRate(peak=0.01)
    # As --set and a pipeline file give it.
    given = {"directory": str(tmp_path), "global_batch_size": 32, "epochs": 2, "learning_rate": 0.01}
    assert decode(TrainerConfig, given).learning_rate == LearningRate(peak=0.01)
    with pytest.raises(ConfigError, match=r"early_stopping\.metrik: unknown key; did you mean 'metric'"):
        config(tmp_path, early_stopping={"metrik": "auc"})
    with pytest.raises(ConfigError, match=r"checkpoint\.every_steps: got '5'; expected a whole number"):
        config(tmp_path, checkpoint={"every_steps": "5"})


def test_early_stopping_on_a_metric_that_is_not_there_stops_before_the_first_step(data, tmp_path):
    with pytest.raises(ConfigError, match=r"early_stopping\.metric 'auc' not found; the evaluation has loss, accuracy"):
        Trainer(config(tmp_path, early_stopping={"metric": "auc"}), build_dense, data, eval=data).fit()
    assert not (tmp_path / "checkpoints").exists()


def test_tpu_without_one_says_so(data, tmp_path):
    with pytest.raises(ConfigError, match="no TPU can be used here"):
        Trainer(config(tmp_path, strategy="tpu"), build_dense, data).fit()


def test_tf_config_is_pure_and_read_back():
    cluster = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
    task = task_from_json(tf_config(cluster, "worker", 1))
    assert (task.type, task.index, task.rank, task.num_training_tasks) == ("worker", 1, 2, 3)
    for bad in ({"worker": ["a"]}, {"worker": ["a:1", "a:1"]}, {"boss": ["a:1"]}):
        with pytest.raises(ConfigError):
            tf_config(bad, next(iter(bad)), 0)


@pytest.mark.parametrize("address", ["a", ":1", "a:", "a:²", "a:-1", "a:65536", "a:" + "9" * 5000])
def test_address_that_is_none_is_refused_by_what_it_is_for(address):
    with pytest.raises(ConfigError, match="'host:port' is expected"):
        task_from_json(json.dumps({"cluster": {"worker": [address]}}))
    with pytest.raises(ConfigError, match=r"FULLPASS_RENDEZVOUS: got .* expected host:port"):
        rendezvous_address(Task(), {"FULLPASS_RENDEZVOUS": address})
    assert rendezvous_address(Task(), {"FULLPASS_RENDEZVOUS": "a:b:65535"}) == ("a:b", 65535)
