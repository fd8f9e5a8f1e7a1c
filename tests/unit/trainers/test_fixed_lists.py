"""Lists of one length are dense in every part: the feed, training, export, evaluation, prediction."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset, write_batches
from trainers import Trainer, TrainerConfig
from trainers.evaluation import evaluate
from trainers.export.from_checkpoint import export_checkpoint

ROWS = 256


def build_model(context):
    import keras

    inputs = {"vector": keras.Input((3,), name="vector"), "ids": keras.Input((2,), dtype="int64", name="ids")}
    near = keras.layers.Flatten()(keras.layers.Embedding(10, 2)(inputs["ids"]))
    hidden = keras.layers.Concatenate()([inputs["vector"], near])
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    return model


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(3)
    vector = rng.normal(size=(ROWS, 3)).astype(np.float32)
    return {"vector": vector, "ids": rng.integers(0, 10, (ROWS, 2)), "y": (vector[:, 0] > 0).astype(np.int64)}


@pytest.fixture(scope="module", params=["fixed-size lists", "lists", "tfrecord"])
def data(request, columns, tmp_path_factory):
    """The same rows as fixed-size lists, as lists that a feature spec gives one length, and as TFRecord."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("rows")
    kind = lambda t, n: pa.list_(t, n if request.param == "fixed-size lists" else -1)
    table = pa.table(
        {
            "vector": pa.array(columns["vector"].tolist(), kind(pa.float32(), 3)),
            "ids": pa.array(columns["ids"].tolist(), kind(pa.int64(), 2)),
            "y": columns["y"],
        }
    )
    if request.param == "tfrecord":
        path = folder / "rows.tfrecord"
        write_batches(table.to_batches(), table.schema, str(path), format="tfrecord")
    else:
        path = folder / "rows.parquet"
        pq.write_table(table, path)
    spec = {
        "vector": tf.io.FixedLenFeature([3], tf.float32),
        "ids": tf.io.FixedLenFeature([2], tf.int64),
        "y": tf.io.FixedLenFeature([], tf.int64),
    }
    return request.param, Dataset.open(str(path), spec if request.param == "lists" else None)


def test_fixed_lists_are_dense_from_the_feed_to_the_answer(data, columns, tmp_path):
    import tensorflow as tf

    name, rows = data
    spec = rows.feature_spec()
    assert spec["vector"] == tf.io.FixedLenFeature([3], tf.float32) and spec["ids"].shape == [2], (name, spec)
    feed = rows.feed(global_batch_size=64, shuffle=False, num_epochs=1)
    first = next(iter(feed.dataset().map(feed.unpack)))
    np.testing.assert_array_equal(first["vector"], columns["vector"][:64])
    np.testing.assert_array_equal(first["ids"], columns["ids"][:64])

    config = TrainerConfig(
        directory=str(tmp_path / "run"), label="y", global_batch_size=64, epochs=2, tensorboard=False
    )
    model = Trainer(config, build_model, rows, eval=rows).fit().model
    version = export_checkpoint(
        tmp_path / "run", build_model, tmp_path / "out", transform_graph=None, raw_feature_spec=spec
    )
    loaded = tf.saved_model.load(str(version))
    asked = loaded.signatures["raw_features"].structured_input_signature[1]
    assert {key: each.shape.as_list() for key, each in asked.items()} == {"vector": [None, 3], "ids": [None, 2]}
    inputs = {key: tf.constant(columns[key]) for key in ("vector", "ids")}
    expected = model(inputs).numpy().reshape(-1)
    (answer,) = loaded.signatures["raw_features"](**inputs).values()
    np.testing.assert_allclose(np.reshape(answer, -1), expected, rtol=1e-5)

    measured = evaluate(version, rows, "y")
    assert measured.rows == ROWS
    np.testing.assert_allclose(measured.overall["mean_prediction"], expected.mean(), rtol=1e-5)
