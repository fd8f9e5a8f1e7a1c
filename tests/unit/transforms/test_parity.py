"""Each analyzer and mapper against TensorFlow Transform in the same process, on the same random data."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import Dataset
from tests.support import parity
from transforms import analyze

ROWS = 3000


def numeric_table() -> tuple[pa.Table, dict]:
    rng = np.random.default_rng(7)
    x = rng.lognormal(1.0, 2.0, ROWS).astype(np.float32)
    nan = rng.normal(size=ROWS).astype(np.float32)
    nan[rng.random(ROWS) < 0.1] = np.nan
    vector = rng.normal(size=(ROWS, 3)).astype(np.float32) @ np.array([[1, 0.5, 0], [0, 2, 0.3], [0, 0, 1]], np.float32)
    sparse = [rng.normal(size=rng.integers(0, 4)).astype(np.float32).tolist() for _ in range(ROWS)]
    table = pa.table(
        {
            "x": x,
            "i": rng.integers(-1000, 1000, ROWS),
            "nan": nan,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vector.reshape(-1)), 3),
            "sparse": pa.array(sparse, pa.list_(pa.float32())),
            "key": pa.array([b"k%d" % value for value in rng.integers(0, 7, ROWS)], pa.binary()),
        }
    )
    spec = {
        "x": tf.io.FixedLenFeature([], tf.float32),
        "i": tf.io.FixedLenFeature([], tf.int64),
        "nan": tf.io.FixedLenFeature([], tf.float32),
        "vector": tf.io.FixedLenFeature([3], tf.float32),
        "sparse": tf.io.VarLenFeature(tf.float32),
        "key": tf.io.FixedLenFeature([], tf.string),
    }
    return table, spec


def _fill(inputs, value):
    """A scalar or vector analyzer result as a feature."""
    size = tf.shape(inputs["x"])[0]
    return tf.tile(tf.expand_dims(value, 0), tf.concat([[size], tf.ones([tf.rank(value)], tf.int32)], 0))


def numeric_fn(inputs):
    x, i, vector, sparse = inputs["x"], inputs["i"], inputs["vector"], inputs["sparse"]
    scalars = {
        "mean": tft.mean(x),
        "var": tft.var(x),
        "mean_int": tft.mean(i),
        "mean_nan": tft.mean(inputs["nan"]),
        "var_nan": tft.var(inputs["nan"]),
        "mean_sparse": tft.mean(sparse),
        "mean_log": tft.mean(tf.math.log1p(x)),
        "min": tft.min(x),
        "max": tft.max(x),
        "min_int": tft.min(i),
        "max_sparse": tft.max(sparse),
        "sum_int": tft.sum(i),
        "sum": tft.sum(x),
        "size": tft.size(x),
        "size_sparse": tft.size(sparse),
    }
    vectors = {
        "mean_vector": tft.mean(vector, reduce_instance_dims=False),
        "var_vector": tft.var(vector, reduce_instance_dims=False),
        "max_vector": tft.max(vector, reduce_instance_dims=False),
        "sum_vector": tft.sum(vector, reduce_instance_dims=False),
        "covariance": tf.reshape(tft.covariance(vector, tf.float32), [9]),
    }
    for value in vectors.values():
        value.set_shape([9] if value.shape.as_list() == [9] else [3])
    return {
        **{name: _fill(inputs, tf.cast(value, tf.float32)) for name, value in scalars.items()},
        **{name: tf.ensure_shape(_fill(inputs, value), [None, value.shape[0]]) for name, value in vectors.items()},
        "z": tft.scale_to_z_score(x),
        "z_vector": tft.scale_to_z_score(vector, elementwise=True),
        "z_sparse": tft.scale_to_z_score(sparse),
        "unit": tft.scale_to_0_1(x),
        "by_range": tft.scale_by_min_max(i, -1.0, 1.0),
        "z_key": tft.scale_to_z_score_per_key(x, inputs["key"]),
        "unit_key": tft.scale_to_0_1_per_key(x, inputs["key"]),
    }


def string_table() -> tuple[pa.Table, dict]:
    rng = np.random.default_rng(11)
    words = np.array([b"w%d" % each for each in range(200)], object)
    text = [b" ".join(words[rng.zipf(1.5, rng.integers(0, 6)) % 200]) for _ in range(ROWS)]
    tags = [words[rng.integers(0, 50, rng.integers(0, 4))].tolist() for _ in range(ROWS)]
    table = pa.table(
        {
            "x": rng.normal(size=ROWS).astype(np.float32),
            "word": pa.array(words[rng.zipf(1.4, ROWS) % 200].tolist(), pa.binary()),
            "text": pa.array(text, pa.binary()),
            "tags": pa.array(tags, pa.list_(pa.binary())),
            "number": rng.integers(0, 30, ROWS),
        }
    )
    spec = {
        "x": tf.io.FixedLenFeature([], tf.float32),
        "word": tf.io.FixedLenFeature([], tf.string),
        "text": tf.io.FixedLenFeature([], tf.string),
        "tags": tf.io.VarLenFeature(tf.string),
        "number": tf.io.FixedLenFeature([], tf.int64),
    }
    return table, spec


def string_fn(inputs):
    tokens = tf.strings.split(inputs["text"]).to_sparse()
    ids = tft.compute_and_apply_vocabulary(tokens, top_k=50, vocab_filename="tokens")
    indices, weights = tft.tfidf(ids, 51)
    counts, _ = tft.histogram(inputs["x"], boundaries=5)
    keys, per_key = tft.count_per_key(inputs["word"])
    lookup = tf.cast(tf.equal(tf.expand_dims(inputs["word"], 1), tf.expand_dims(keys, 0)), tf.int64)
    return {
        "word": tft.compute_and_apply_vocabulary(inputs["word"], num_oov_buckets=2, vocab_filename="word"),
        "lower": tft.compute_and_apply_vocabulary(tf.strings.upper(inputs["word"]), frequency_threshold=3),
        "tags": tft.compute_and_apply_vocabulary(inputs["tags"], top_k=20, default_value=-7),
        "number": tft.compute_and_apply_vocabulary(inputs["number"], vocab_filename="number"),
        "ids": ids,
        "tfidf_ids": indices,
        "tfidf": weights,
        "own_count": tf.reduce_sum(lookup * tf.expand_dims(per_key, 0), axis=1),
        "histogram": tf.ensure_shape(_fill(inputs, counts), [None, 4]),
    }


def multi_phase_fn(inputs):
    x = inputs["x"]
    shifted = x - tft.mean(x)
    scaled = shifted / tft.max(tf.abs(shifted))
    clipped = tf.minimum(scaled, tft.mean(scaled) + 0.1)
    word = tft.compute_and_apply_vocabulary(inputs["word"], top_k=30)
    return {
        "deep": tft.scale_to_z_score(clipped),
        "after_table": tft.scale_to_z_score(tf.cast(word, tf.float32)),
        "bucket_of_z": tft.bucketize(tft.scale_to_z_score(x), 4),
    }


CASES = {
    "numeric": (numeric_table, numeric_fn),
    "strings": (string_table, string_fn),
    "multi_phase": (string_table, multi_phase_fn),
}


@pytest.mark.parametrize("name", CASES)
def test_analyzers_give_what_tft_gives(name, tmp_path):
    make, preprocessing_fn = CASES[name]
    table, spec = make()
    data = parity.write_table(tmp_path / "data", table, files=3)
    expected = parity.tft_analyze(table, spec, preprocessing_fn, str(tmp_path / "tft"))
    report = analyze(Dataset.open(data, spec), preprocessing_fn, str(tmp_path / "ours"), batch_rows=700)
    assert report.fallback is None
    assert report.records == ROWS
    assert parity.assets(report.path) == parity.assets(expected)
    assert parity.metadata(report.path) == parity.metadata(expected)
    parity.assert_same_outputs(parity.outputs(expected, table, spec), parity.outputs(report.path, table, spec))
