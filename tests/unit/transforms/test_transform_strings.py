"""Shards with strings made in the graph: the same for any batch, memory and workers, and as TensorFlow's own layer gives them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import Dataset
from engine.core.errors import ConfigError
from transforms import analyze, transform

ROWS = 700
SPEC = {
    "dense": tf.io.FixedLenFeature([], tf.string),
    "pair": tf.io.FixedLenFeature([2], tf.string),
    "sparse": tf.io.VarLenFeature(tf.string),
    "ragged": tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
    "x": tf.io.FixedLenFeature([], tf.float32),
}


def preprocessing_fn(inputs):
    lower = tf.strings.lower(inputs["dense"])
    sparse = tf.SparseTensor(
        inputs["sparse"].indices, tf.strings.join([inputs["sparse"].values, "!"]), inputs["sparse"].dense_shape
    )
    return {
        "lower": lower,
        "pair": tf.strings.upper(inputs["pair"]),
        "sparse": sparse,
        "ragged": tf.ragged.map_flat_values(tf.strings.regex_replace, inputs["ragged"], "a", "bb"),
        "id": tft.compute_and_apply_vocabulary(lower, vocab_filename="lower"),
        "ids": tft.compute_and_apply_vocabulary(sparse, vocab_filename="sparse"),
        "z": tft.scale_to_z_score_per_key(inputs["x"], lower),
        "hash": tf.strings.as_string(tf.strings.to_hash_bucket_fast(inputs["dense"], 97)),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(8)
    words = np.array([b"Aa", b"", b"\x00B\xff", b"a long string of more than one word", "ä".encode()], object)

    def lists():
        return [words[rng.integers(0, 5, n)].tolist() for n in rng.integers(0, 4, ROWS)]

    table = pa.table(
        {
            "dense": pa.array(words[rng.integers(0, 5, ROWS)].tolist(), pa.binary()),
            "pair": pa.array(words[rng.integers(0, 5, (ROWS, 2))].tolist(), pa.list_(pa.binary(), 2)),
            "sparse": pa.array(lists(), pa.list_(pa.binary())),
            "ragged": pa.array(lists(), pa.list_(pa.binary())),
            "x": pa.array(rng.normal(size=ROWS).astype(np.float32)),
        }
    )
    directory = tmp_path_factory.mktemp("data")
    pq.write_table(table, directory / "rows.parquet", row_group_size=100)
    dataset = Dataset.open(str(directory / "rows.parquet"), SPEC)
    analyze(dataset, preprocessing_fn, str(directory / "graph"))
    return table, dataset, str(directory / "graph")


def _expected(table, graph):
    output = tft.TFTransformOutput(graph)
    layer = output.transform_features_layer()
    ragged = tf.ragged.constant(table["ragged"].to_pylist(), dtype=tf.string, ragged_rank=1)
    inputs = {
        "dense": tf.constant(table["dense"].to_pylist()),
        "pair": tf.constant(table["pair"].to_pylist()),
        "sparse": tf.ragged.constant(table["sparse"].to_pylist(), dtype=tf.string, ragged_rank=1).to_sparse(),
        "ragged": ragged,
        "x": tf.constant(table["x"].to_numpy()),
    }
    values = {}
    for name, value in layer(inputs).items():
        if isinstance(value, tf.SparseTensor):
            value = tf.RaggedTensor.from_value_rowids(value.values, value.indices[:, 0], nrows=value.dense_shape[0])
        values[name] = value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
    return values


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_rows": 7, "runner_options": ["--workers=1"]},
        {"batch_rows": 130, "memory": "64Mi", "runner_options": ["--workers=3"], "target_split_bytes": 1},
    ],
)
@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_transformed_strings_are_those_of_tensorflow(data, tmp_path, options, format):
    table, dataset, graph = data
    transform(dataset, graph, str(tmp_path / "out"), format=format, **options)
    columns = pa.Table.from_batches(Dataset.open(str(tmp_path / "out")).read_batches()).to_pydict()
    got = {name.split("$")[0]: values for name, values in columns.items()}  # TFT's names of ragged values have a suffix
    for name, want in _expected(table, graph).items():
        values = [each or [] for each in got[name]] if isinstance(want[0], list) else got[name]
        assert values == want, name


@pytest.mark.parametrize("memory", ["2 GB", "1Mi", "-1", 1000])
def test_a_memory_that_is_none_is_refused(data, tmp_path, memory):
    _, dataset, graph = data
    with pytest.raises(ConfigError, match="at least 64Mi"):
        transform(dataset, graph, str(tmp_path / "out"), memory=memory)
    with pytest.raises(ConfigError, match="at least 64Mi"):
        analyze(dataset, preprocessing_fn, str(tmp_path / "graph"), memory=memory)
