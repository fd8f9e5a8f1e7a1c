"""A loss that is no number: the training stops with its place, takes the step back, or goes on, as on_nan says."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset
from tests.support.models import classification_columns
from trainers import ArrayDataset, CheckpointConfig, EarlyStopping, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import load_checkpoint
from trainers.checkpoints.directory import checkpoint_steps
from trainers.checkpoints.progress_state import TrainingState
from trainers.loop.faults.divergence import TrainingDiverged

BAD_ROW = 300


@pytest.fixture(scope="module")
def columns():
    found = classification_columns()
    return {"a": found["x"][:, 0].copy(), "b": found["x"][:, 1].copy(), "y": found["y"]}


@pytest.fixture(scope="module")
def with_nan(columns, tmp_path_factory):
    table = {name: values.copy() for name, values in columns.items()}
    table["b"][BAD_ROW] = np.nan
    path = tmp_path_factory.mktemp("nan") / "rows.parquet"
    pq.write_table(pa.table(table), path, row_group_size=100)
    return path


def build(rate=0.1):
    def build_model(context):
        import keras

        keras.utils.set_random_seed(1)
        inputs = {name: keras.Input((), name=name) for name in "ab"}
        columns = [keras.layers.Reshape((1,))(v) for v in inputs.values()]
        hidden = keras.layers.Concatenate()(columns)
        model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
        model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["mae"])
        return model

    return build_model


def config(directory, **changes) -> TrainerConfig:
    settings = {"label": "y", "global_batch_size": 32, "epochs": 1, "steps_per_call": 2, "tensorboard": False}
    return TrainerConfig(directory=str(directory), **{**settings, **changes})


def step_of_bad_row(data) -> int:
    feed = data.feed(global_batch_size=32, with_record_ids=True, seed=0)
    return next(i for i, b in enumerate(feed) if BAD_ROW in feed.unpack_numpy(b)["record_ids"])


def test_nan_in_the_data_stops_with_step_record_column_and_last_good_checkpoint(with_nan, tmp_path):
    data = Dataset.open(str(with_nan))
    step = step_of_bad_row(data)
    assert 2 <= step < 18
    every = CheckpointConfig(every_steps=2, keep=1)
    with pytest.raises(TrainingDiverged) as stopped:
        Trainer(config(tmp_path, checkpoint=every), build(), data).fit()
    text = str(stopped.value)
    assert stopped.value.step == step + 1
    good = step // 2 * 2
    assert f"the loss of step {step + 1} is nan" in text and f"step-{good:012d}" in text
    assert f"column 'b' of record {BAD_ROW}" in text and f"rows.parquet record {BAD_ROW}" in text
    assert checkpoint_steps(str(tmp_path)) == [good]
    for values in load_checkpoint(str(tmp_path)).tensors("model").values():
        assert np.isfinite(values.numpy()).all()


def test_nan_skipped_equals_a_training_without_that_step(with_nan, columns, tmp_path, capfd):
    import keras
    import tensorflow as tf

    data = Dataset.open(str(with_nan))
    bad = step_of_bad_row(data)
    result = Trainer(config(tmp_path, on_nan="skip", ema_decay=0.5), build(), data, eval=ArrayDataset(columns)).fit()
    assert f"step {bad + 1} was taken back" in capfd.readouterr().err
    assert load_checkpoint(result.checkpoint).state["training"]["skipped_steps"] == 1
    expected = build()(None)
    average = [w.copy() for w in expected.get_weights()]
    feed = data.feed(global_batch_size=32, seed=0)
    for number, batch in enumerate(feed.dataset().take(20).map(feed.unpack)):
        if number != bad:
            expected.train_on_batch({n: batch[n] for n in "ab"}, batch["y"])
            average = [0.5 * a + 0.5 * w for a, w in zip(average, expected.get_weights())]
    for mine, theirs in zip(result.model.get_weights(), average):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert np.isfinite(result.metrics["mae"]) and np.isfinite(result.metrics["loss"])
    assert keras and tf


def test_weights_that_are_no_numbers_are_not_saved(columns, tmp_path):
    data = ArrayDataset(columns)

    def diverging(context):
        import keras

        inputs = {"a": keras.Input((1,), name="a")}
        model = keras.Model(inputs, keras.layers.Dense(1)(inputs["a"]))
        model.compile(keras.optimizers.SGD(1e38), "mse", loss_weights=[1000.0])  # 1e38 x 1000 is infinite in float32
        return model

    every = CheckpointConfig(every_steps=1)
    with pytest.raises(TrainingDiverged, match=r"weight dense.*kernel is not a finite number after step 1"):
        Trainer(config(tmp_path, checkpoint=every, steps_per_call=1), diverging, data).fit()
    for step in checkpoint_steps(str(tmp_path)):
        for values in load_checkpoint(f"{tmp_path}/checkpoints/step-{step:012d}").tensors("model").values():
            assert np.isfinite(values.numpy()).all()


def test_nan_going_on_keeps_the_last_good_checkpoint_and_writes_valid_json(with_nan, columns, tmp_path):
    data = Dataset.open(str(with_nan))
    bad = step_of_bad_row(data)
    every = CheckpointConfig(every_steps=2, keep=1)
    settings = config(tmp_path, checkpoint=every, on_nan="go_on", eval_every_steps=2)
    result = Trainer(settings, build(), data, eval=ArrayDataset(columns)).fit()
    assert result.steps == 20 and np.isnan(result.eval_metrics["loss"])
    assert checkpoint_steps(str(tmp_path)) == [bad // 2 * 2, 20]

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "checkpoints" / "step-000000000020" / "state.json").read_text()
    assert json.loads(text, parse_constant=refuse)["training"]["history"][-1]["loss"] is None


def test_an_evaluation_that_is_no_number_is_never_the_best():
    state, stopping = TrainingState(), EarlyStopping(metric="loss", patience=3)
    best = []
    for state.step, value in ((1, float("nan")), (2, 0.5), (3, float("-inf")), (4, 0.4)):
        best.append(state.judge({"loss": value}, stopping))
    assert best == [False, True, False, True] and state.best == 0.4 and not state.stopped_early


def test_another_early_stopping_is_judged_by_what_was_counted():
    stopping = EarlyStopping(metric="loss", patience=2)
    state = TrainingState(step=4, best=0.5, best_step=2, evaluations_since_best=2, stopped_early=True)
    saved = {"training": state.as_json(), "config": {"early_stopping": dataclasses.asdict(stopping)}}
    assert TrainingState.resumed(saved, stopping) == state
    patient = TrainingState.resumed(saved, EarlyStopping(metric="loss", patience=3))
    assert not patient.stopped_early and patient.best == 0.5 and patient.best_step == 2
    other = TrainingState.resumed(saved, EarlyStopping(metric="auc", mode="max", patience=2))
    assert not other.stopped_early and other.best is None and other.best_step is None
    assert not TrainingState.resumed(saved, None).stopped_early
