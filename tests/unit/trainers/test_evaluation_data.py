"""Evaluation data whose types were inferred otherwise than those of the training data: read as these, or refused at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset
from engine.core.errors import ConfigError, DataError
from trainers import Trainer, TrainerConfig

ROWS = 24
X = np.linspace(-1, 1, ROWS, dtype=np.float32)
COUNT = np.arange(ROWS) % 4
Y = (2 * X + COUNT).astype(np.float32)
SOME = pa.array([None if i % 5 == 0 else float(v) for i, v in enumerate(X)], pa.float32())


def build(context=None):
    """A model that tells a sparse feature from a dense one, and looks whole numbers up."""
    import keras
    import tensorflow as tf

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.table, self.out = (
                keras.layers.Embedding(4, 1, "ones"),
                keras.layers.Dense(1, kernel_initializer="ones"),
            )

        def call(self, features):
            x = features["x"]
            x = tf.sparse.to_dense(x)[:, 0] + 1.0 if isinstance(x, tf.sparse.SparseTensor) else x
            return self.out(self.table(features["count"]) + x[:, None])

    model = Model()
    model.compile("sgd", "mse")
    return model


def data(directory, **columns) -> Dataset:
    directory.mkdir()
    pq.write_table(pa.table({"x": X, "count": COUNT, "y": Y} | columns), directory / "part.parquet")
    return Dataset.open(str(directory))


def losses(tmp_path, train: Dataset, evaluation: Dataset) -> list[float]:
    out = str(tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}")
    config = TrainerConfig(directory=out, label="y", epochs=1, global_batch_size=8, tensorboard=False)
    return [entry["loss"] for entry in Trainer(config, build, train, eval=evaluation).fit().history]


@pytest.mark.parametrize(
    "columns",
    [
        {"count": COUNT.astype(np.float32)},
        {"count": [str(v) for v in COUNT]},
        {"y": pa.array([[v] for v in Y.tolist()], pa.list_(pa.float32()))},
    ],
    ids=["whole floats", "numbers as text", "lists of one"],
)
def test_values_of_another_type_are_those_of_the_training_data(tmp_path, columns):
    train, other = data(tmp_path / "train"), data(tmp_path / "other", **columns)
    assert losses(tmp_path, train, other) == losses(tmp_path, train, train)


def test_a_column_without_missing_values_is_sparse_where_that_of_the_training_is(tmp_path):
    train, full = data(tmp_path / "train", x=SOME), data(tmp_path / "full")
    spec = train.feature_spec()
    as_train = Dataset.open(str(tmp_path / "full"), spec)
    assert type(full.feature_spec()["x"]) is not type(spec["x"])
    assert losses(tmp_path, train, full) == losses(tmp_path, train, as_train)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"count": COUNT + 0.5}, "record 0: column 'count' holds double, which does not fit int64"),
        ({"x": SOME}, "record 0: column 'x' is null here"),
        ({"x": ["far"] * ROWS}, "record 0: column 'x' holds string, which does not fit float"),
    ],
    ids=["fractions", "missing", "text"],
)
def test_values_that_do_not_fit_are_refused_before_the_first_step(tmp_path, columns, said):
    train, other = data(tmp_path / "train"), data(tmp_path / "other", **columns)
    with pytest.raises(DataError) as refused:
        losses(tmp_path, train, other)
    assert said in str(refused.value) and "that of the training data" in str(refused.value)
    assert str(tmp_path / "other" / "part.parquet") in str(refused.value)
    assert not list(tmp_path.glob("run-*/checkpoints/step-*"))


def test_no_records_and_a_column_too_few_are_said_to_be_of_the_evaluation_data(tmp_path):
    train, empty, fewer = data(tmp_path / "train"), tmp_path / "empty", tmp_path / "fewer"
    for directory, table in ((empty, pq.read_table(train.paths[0]).slice(0, 0)), (fewer, pa.table({"x": X, "y": Y}))):
        directory.mkdir()
        pq.write_table(table, directory / "part.parquet")
    with pytest.raises(ConfigError, match="evaluation data has no records"):
        losses(tmp_path, train, Dataset.open(str(empty)))
    with pytest.raises(ConfigError, match="evaluation data: column 'count' not found"):
        losses(tmp_path, train, Dataset.open(str(fewer)))


def test_defaults_of_the_training_datas_spec_are_those_of_the_evaluation(tmp_path):
    import tensorflow as tf

    spec = {
        "x": tf.io.FixedLenFeature([], tf.float32, 0.25),
        "count": tf.io.FixedLenFeature([], tf.int64),
        "y": tf.io.FixedLenFeature([], tf.float32),
    }
    with_gaps, filled = data(tmp_path / "gaps", x=SOME), data(tmp_path / "filled", x=SOME.fill_null(0.25))
    train = Dataset.open(str(tmp_path / "gaps"), spec)
    assert losses(tmp_path, train, with_gaps) == losses(tmp_path, train, filled)
