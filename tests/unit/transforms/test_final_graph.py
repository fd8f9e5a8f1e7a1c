"""The graph made of the first trace against the one that TFT's second trace gives: same schema, same outputs."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from google.protobuf import text_format

import transforms.output.transform_graph as writing
from engine import Dataset, write_batches
from transforms import analyze
from transforms.output.final_graph import Unfit

SPEC = {
    "x": tf.io.FixedLenFeature([], tf.float32),
    "word": tf.io.FixedLenFeature([], tf.string),
    "number": tf.io.FixedLenFeature([], tf.int64),
    "words": tf.io.VarLenFeature(tf.string),
    "unused": tf.io.FixedLenFeature([], tf.float32),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(5)
    rows = 400
    words = np.array([b"a", b"b", b"ccc", b"d e", b"\xc3\xa4"], object)
    columns = {
        "x": pa.array(rng.normal(3, 2, rows), pa.float32()),
        "word": pa.array(words[rng.integers(0, 5, rows)].tolist(), pa.binary()),
        "number": pa.array(rng.integers(0, 9, rows)),
        "words": pa.array(
            [words[rng.integers(0, 5, n)].tolist() for n in rng.integers(0, 4, rows)], pa.list_(pa.binary())
        ),
        "unused": pa.array(rng.random(rows), pa.float32()),
    }
    path = str(tmp_path_factory.mktemp("data") / "rows.parquet")
    batch = pa.RecordBatch.from_pydict(columns)
    write_batches([batch], batch.schema, path, "parquet")
    return path


def scaled_fn(inputs):
    return {
        "z": tft.scale_to_z_score(tf.math.log1p(tf.abs(inputs["x"]))),
        "twice": tft.scale_to_0_1(tft.scale_to_z_score(inputs["x"])),
        "buckets": tft.bucketize(inputs["x"], 4),
        "same": inputs["number"],
    }


def vocabulary_fn(inputs):
    ids = tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="word", num_oov_buckets=3)
    return {
        "ids": ids,
        "hot": tf.one_hot(ids, 12),
        "wide": ids + tft.get_num_buckets_for_transformed_feature(ids),
        "numbers": tft.compute_and_apply_vocabulary(inputs["number"], default_value=-7, top_k=4),
        "bag": tft.compute_and_apply_vocabulary(inputs["words"], frequency_threshold=2),
        "shared": tft.apply_vocabulary(inputs["word"], tft.vocabulary(inputs["words"], vocab_filename="shared")),
    }


def two_phases_fn(inputs):
    ids = tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="word")
    return {
        "z": tft.scale_to_z_score(tf.cast(ids, tf.float32)),
        "per_key": tft.scale_to_z_score_per_key(inputs["x"], inputs["word"]),
    }


def control_flow_fn(inputs):
    mean = tft.mean(inputs["x"])
    return {
        "cond": tf.cond(mean > 0, lambda: inputs["x"] - mean, lambda: inputs["x"]),
        "mapped": tf.map_fn(lambda value: value * mean, inputs["x"]),
        "table": tf.gather(tf.constant(np.arange(5000), tf.int64), inputs["number"]),
    }


def tracked_table_fn(inputs):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([b"a", b"b"], np.array([7, 8])), -1)
    return {"own": table.lookup(inputs["word"]), "z": tft.scale_to_z_score(inputs["x"])}


def gzip_vocabulary_fn(inputs):
    return {"ids": tft.compute_and_apply_vocabulary(inputs["word"], file_format="tfrecord_gzip")}


def path_fn(inputs):
    path = tft.vocabulary(inputs["word"], vocab_filename="word")
    return {"ids": tft.apply_vocabulary(inputs["word"], path), "path": tf.fill(tf.shape(inputs["x"]), path)}


def _graphs(data, fn, tmp_path, monkeypatch):
    first = str(tmp_path / "first")
    analyze(Dataset.open(data, SPEC), fn, first)

    def unfit(*_):
        raise Unfit("as the test wants it")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "FinalGraph", unfit)
        again = str(tmp_path / "again")
        analyze(Dataset.open(data, SPEC), fn, again)
    return first, again


@pytest.mark.parametrize(
    ("fn", "fits"),
    [
        (scaled_fn, True),
        (vocabulary_fn, True),
        (two_phases_fn, True),
        (control_flow_fn, True),
        (tracked_table_fn, False),
        (gzip_vocabulary_fn, False),
        (path_fn, False),
    ],
)
def test_same_as_second_trace(data, fn, fits, tmp_path, monkeypatch, caplog):
    with caplog.at_level("DEBUG", logger=writing.__name__):
        first, again = _graphs(data, fn, tmp_path, monkeypatch)
    # The second of the two graphs is that of a second trace in any case.
    assert caplog.text.count("is traced again") == (1 if fits else 2)
    ours, theirs = tft.TFTransformOutput(first), tft.TFTransformOutput(again)
    assert text_format.MessageToString(ours.transformed_metadata.schema) == text_format.MessageToString(
        theirs.transformed_metadata.schema
    )
    assert _assets(first) == _assets(again)
    table = pa.Table.from_batches(list(_read(data)))
    inputs = {
        name: tf.constant(table[name].combine_chunks().to_numpy(zero_copy_only=False))
        for name in SPEC
        if name != "words"
    }
    inputs["words"] = tf.ragged.constant(table["words"].to_pylist(), dtype=tf.string).to_sparse()
    for output in (ours, theirs):
        output.found = output.transform_features_layer()(dict(inputs))
    assert ours.found.keys() == theirs.found.keys()
    for name, value in ours.found.items():
        _equal(name, value, theirs.found[name])
    # What serving does: features that an output does not need may be missing.
    del inputs["unused"]
    _equal(name, ours.transform_raw_features(dict(inputs))[name], theirs.found[name])


def _equal(name, ours, theirs):
    pairs = zip(tf.nest.flatten(ours, expand_composites=True), tf.nest.flatten(theirs, expand_composites=True))
    for left, right in pairs:
        assert left.dtype == right.dtype, name
        if name == "path":
            assert [os.path.basename(each) for each in left.numpy()] == [
                os.path.basename(each) for each in right.numpy()
            ]
        else:
            np.testing.assert_array_equal(left.numpy(), right.numpy(), err_msg=name)


def _assets(graph):
    directory = os.path.join(graph, "transform_fn", "assets")
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    contents = {}
    for name in names:
        with open(os.path.join(directory, name), "rb") as file:
            contents[name] = file.read() if not name.endswith(".gz") else b""
    return contents


def _read(data):
    import pyarrow.parquet as pq

    return pq.read_table(data).to_batches()
