"""What a person sees who makes a mistake, stops a training run, or looks at its end."""

from __future__ import annotations

import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset
from engine.core.exit_codes import INTERRUPTED, PROGRAM_ERROR, WRONG_INPUT
from tests.support.models import classification_columns
from trainers import ArrayDataset, Trainer, TrainerConfig


def table(tmp_path, **changes):
    found = classification_columns()
    columns = {"x": found["x"][:, 0], "y": found["y"], **changes}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=100)
    return Dataset.open(str(path))


def build(units=1, loss="binary_crossentropy", activation="sigmoid", look=lambda x: x):
    def build_model(context):
        import keras

        class Look(keras.layers.Layer):
            def call(self, x):
                return look(x)

            def compute_output_spec(self, x):
                return keras.KerasTensor(x.shape, x.dtype)

        inputs = {"x": keras.Input((), name="x")}
        hidden = Look()(keras.layers.Reshape((1,))(inputs["x"]))
        model = keras.Model(inputs, keras.layers.Dense(units, activation=activation)(hidden))
        model.compile("sgd", loss)
        return model

    return build_model


def fit(data, tmp_path, model, **changes):
    settings = {"label": "y", "global_batch_size": 64, "epochs": 1, "steps_per_call": 2, "tensorboard": False}
    return Trainer(TrainerConfig(directory=str(tmp_path / "run"), **{**settings, **changes}), model, data).fit()


def test_label_that_is_no_class_of_the_model_names_value_row_and_file(tmp_path):
    labels = np.arange(640) % 3
    labels[321] = 7
    data = table(tmp_path, y=labels)
    with pytest.raises(
        DataError, match=r"label 'y' is 7 in record 321 .*rows.parquet record 321.* 3 classes: .* 0 to 2"
    ):
        fit(data, tmp_path, build(3, "sparse_categorical_crossentropy", "softmax"))


def test_text_label_is_refused_with_what_to_do(tmp_path):
    data = table(tmp_path, y=np.where(np.arange(640) % 2, "yes", "no"))
    with pytest.raises(ConfigError, match="label 'y' holds text"):
        fit(data, tmp_path, build())


def test_null_label_is_refused_with_column_and_row(tmp_path):
    data = table(tmp_path, y=pa.array([None if i == 123 else i % 2 for i in range(640)], pa.int64()))
    with pytest.raises(DataError, match="label 'y' has no value in record 123 "):
        fit(data, tmp_path, build())


def test_labels_that_do_not_fit_the_outputs_are_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="the loss cannot be computed from label 'y' and the model's outputs"):
        fit(table(tmp_path), tmp_path, build(4))


def test_error_in_the_users_model_stays_its_own(tmp_path):
    def broken(context):
        raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        fit(table(tmp_path), tmp_path, broken)


def test_shard_that_disappears_while_training_is_named(tmp_path):
    rows = classification_columns(4000)
    (tmp_path / "data").mkdir()
    for part in range(8):
        piece = slice(part * 500, part * 500 + 500)
        pq.write_table(
            pa.table({"x": rows["x"][piece, 0], "y": rows["y"][piece]}), tmp_path / "data" / f"{part}.parquet"
        )
    data = Dataset.open(str(tmp_path / "data"))
    for part in range(8):
        (tmp_path / "data" / f"{part}.parquet").unlink()
    with pytest.raises((DataError, OSError), match=r"\.parquet"):
        fit(data, tmp_path, build())


def test_ctrl_c_saves_says_where_and_goes_on_to_the_bit(tmp_path, capfd):
    import tensorflow as tf

    data = ArrayDataset({"x": classification_columns()["x"][:, 0], "y": classification_columns()["y"]})
    calls = []

    def interrupt(value):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return value

    # Where the tests run in the background of a shell, SIGINT is ignored, and so by this process.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    look = lambda x: tf.ensure_shape(tf.numpy_function(interrupt, [x], tf.float32), x.shape)
    with pytest.raises(SystemExit) as stopped:
        fit(data, tmp_path, build(look=look))
    assert stopped.value.code == INTERRUPTED and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    said = capfd.readouterr().err
    assert "stopped at step 6 of 10, saved in" in said and "the same command goes on from there" in said
    result = fit(data, tmp_path, build(look=look))
    assert result.resumed_from == 6 and result.steps == 10
    assert "train goes on from step 6 of 10 steps of 64 examples" in capfd.readouterr().err
    assert result.seconds["compute"] > 0 and result.examples_per_s > 0


def test_group_says_the_reason_of_the_member_that_failed(tmp_path, capfd):
    from cluster.cli.main import main

    table(tmp_path)
    (tmp_path / "broken.py").write_text('def build_model(context):\n    raise ValueError("my own mistake")\n')
    words = ["train", str(tmp_path / "rows.parquet"), "--module", str(tmp_path / "broken.py"), "--label", "y"]
    code = main([*words, "--out", str(tmp_path / "run"), "--steps", "4", "--batch-size", "64", "--workers", "2"])
    assert code in (WRONG_INPUT, PROGRAM_ERROR)
    said = capfd.readouterr().err
    assert "fullpass: error: worker" in said and "ValueError: my own mistake; logs in" in said
