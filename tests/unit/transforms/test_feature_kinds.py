"""Composite features of a data set: what the graph is fed is what tf.io.parse_example gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from engine import ConfigError, DataError, Dataset
from transforms import analyze, transform
from transforms.batches.layouts import layouts_of, type_specs_of
from transforms.batches.placeholders import components

_RAGGED = tf.io.RaggedFeature
_UNIFORM = _RAGGED.UniformRowLength
_ROWS = [
    {"v": [1.0, 2.0, 3.0, 4.0], "n": [1, 1], "m": [2, 0], "i": [1, 9], "w": [0.5, 1.5]},
    {"v": [], "n": [], "m": [], "i": [], "w": []},
    {"v": [5.0, 6.0, 7.0, 8.0], "n": [0, 2], "m": [0, 2], "i": [3], "w": [2.5]},
]
_SPECS = {
    "uniform": _RAGGED(tf.float32, value_key="v", partitions=[_UNIFORM(2)]),
    "two uniform": _RAGGED(tf.float32, value_key="v", partitions=[_UNIFORM(2), _UNIFORM(2)]),
    "lengths, uniform": _RAGGED(tf.float32, value_key="v", partitions=[_RAGGED.RowLengths("n"), _UNIFORM(2)]),
    "int32 splits": _RAGGED(tf.float32, value_key="v", partitions=[_UNIFORM(4)], row_splits_dtype=tf.int32),
    "sparse of an int size": tf.io.SparseFeature("i", "w", tf.float32, 10),
    "sparse of a list": tf.io.SparseFeature(["i"], "w", tf.float32, [10]),
}


def _write(path, rows):
    serialized = []
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                kind = "float_list" if name in "vw" else "int64_list"
                getattr(example.features.feature[name], kind).value.extend(values)
            serialized.append(example.SerializeToString())
            writer.write(serialized[-1])
    return serialized


@pytest.mark.parametrize("name", _SPECS)
def test_components_are_those_of_tensorflows_parser(name, tmp_path):
    spec = {"x": _SPECS[name]}
    serialized = _write(tmp_path / "rows.tfrecord", _ROWS)
    expected = tf.io.parse_example(serialized, spec)["x"]
    ds = Dataset.open(str(tmp_path / "rows.tfrecord"), spec)
    (batch,) = ds.read_batches()
    found = components(batch, layouts_of(spec)["x"])
    type_spec = type_specs_of(spec)["x"]
    if isinstance(expected, tf.RaggedTensor):
        # The parser makes a uniform partition a ragged dimension of equal rows, TFT a dense one.
        found = tf.RaggedTensor.from_nested_row_splits(found[0], found[1:])
        assert found.to_list() == expected.to_list()
    else:
        found = tf.SparseTensor(*found)
        for ours, theirs in zip(tf.nest.flatten(found, True), tf.nest.flatten(expected, True)):
            np.testing.assert_array_equal(ours, theirs)
    assert type_spec.is_compatible_with(found)


@pytest.mark.parametrize("name", ["lengths, uniform", "sparse of an int size"])
def test_composite_features_go_through_analyze_and_transform(name, tmp_path):
    spec = {"x": _SPECS[name]}
    _write(tmp_path / "rows.tfrecord", _ROWS)
    ds = Dataset.open(str(tmp_path / "rows.tfrecord"), spec)

    def preprocessing_fn(inputs):
        scaled = tft.scale_to_0_1(inputs["x"])
        sparse = scaled.to_sparse() if isinstance(scaled, tf.RaggedTensor) else scaled
        return {"sum": tf.reduce_sum(tf.reshape(tf.sparse.to_dense(sparse), [tf.shape(sparse)[0], -1]), 1)}

    analyze(ds, preprocessing_fn, str(tmp_path / "graph"))
    transform(ds, str(tmp_path / "graph"), str(tmp_path / "out"))
    (batch,) = Dataset.open(str(tmp_path / "out")).read_batches()
    values = [np.array(row["v" if name.startswith("lengths") else "w"]) for row in _ROWS]
    flat = np.concatenate(values)
    expected = [((row - flat.min()) / (flat.max() - flat.min())).sum() for row in values]
    np.testing.assert_allclose(batch.column("sum").to_numpy(), expected, rtol=1e-6)


def test_values_that_do_not_fit_their_partitions_are_refused(tmp_path):
    for spec, message in (
        (
            _RAGGED(tf.float32, value_key="v", partitions=[_UNIFORM(3)]),
            "multiple of 3 values a record.*record 0 .* has 4",
        ),
        (
            _RAGGED(tf.float32, value_key="v", partitions=[_RAGGED.RowLengths("n"), _UNIFORM(3)]),
            "has 8 values .* take 12",
        ),
    ):
        _write(tmp_path / "rows.tfrecord", _ROWS)
        (batch,) = Dataset.open(str(tmp_path / "rows.tfrecord"), {"x": spec}).read_batches()
        with pytest.raises(DataError, match=message):
            components(batch, layouts_of({"x": spec})["x"])
    with pytest.raises(ConfigError, match="list it last"):
        layouts_of({"x": _RAGGED(tf.float32, value_key="v", partitions=[_UNIFORM(2), _RAGGED.RowLengths("n")])})


def test_a_lookup_fn_may_look_up_before_it_asks_for_the_size(tmp_path):
    _write(tmp_path / "rows.tfrecord", _ROWS)
    spec = {"i": tf.io.VarLenFeature(tf.int64)}

    def lookup(values, path):
        initializer = tf.lookup.TextFileInitializer(
            path, tf.string, 1, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, delimiter=" "
        )
        table = tf.lookup.StaticHashTable(initializer, default_value=-1)
        return table.lookup(values), table.size()

    def preprocessing_fn(inputs):
        texts = inputs["i"].with_values(tf.strings.as_string(inputs["i"].values))
        path = tft.vocabulary(texts, vocab_filename="v", store_frequency=True)
        return {"id": tft.apply_vocabulary(texts, path, lookup_fn=lookup)}

    ds = Dataset.open(str(tmp_path / "rows.tfrecord"), spec)
    graph = analyze(ds, preprocessing_fn, str(tmp_path / "graph")).path
    domain = tft.TFTransformOutput(graph).transformed_domains()["id"]
    assert (domain.min, domain.max) == (-1, 2)  # three entries


def test_transform_reads_what_the_graph_was_analyzed_for(tmp_path):
    def part(name, **columns):
        pq.write_table(pa.table(columns), tmp_path / name)
        return Dataset.open(str(tmp_path / name))

    with_nulls = part("nulls.parquet", x=pa.array([1.0, None, 3.0], pa.float32()), y=[1, 2, 3])
    without = part("whole.parquet", x=pa.array([1.0, 2.0, 3.0], pa.float32()), y=[1, 2, 3])
    dense_spec = {"x": tf.io.FixedLenFeature([], tf.float32), "y": tf.io.FixedLenFeature([], tf.int64)}
    sparse_spec = {**dense_spec, "x": tf.io.VarLenFeature(tf.float32)}
    dense = Dataset.open(str(tmp_path / "whole.parquet"), dense_spec)

    def preprocessing_fn(inputs):
        return {"x": tft.scale_to_0_1(inputs["x"]), "y": inputs["y"]}

    for name, ds in (("sparse", Dataset.open(str(tmp_path / "nulls.parquet"), sparse_spec)), ("dense", dense)):
        analyze(ds, preprocessing_fn, str(tmp_path / name))

    def written(graph, ds):
        transform(ds, str(tmp_path / graph), str(tmp_path / "out"))
        return pq.read_table(tmp_path / "out").column("x").to_pylist()

    assert written("sparse", dense) == [[0.0], [0.5], [1.0]]
    assert written("sparse", with_nulls) == [[0.0], [], [1.0]]
    assert written("dense", without) == [0.0, 0.5, 1.0]
    with pytest.raises(DataError, match=r"'x' needs 1 values in each of 3 records .* record 1 of the batch has none"):
        written("dense", with_nulls)
    lists = part("lists.parquet", x=pa.array([[1.0, 2.0], [], [3.0]], pa.list_(pa.float32())), y=[1, 2, 3])
    with pytest.raises(DataError, match="record 0 of the batch has 2"):  # three values in three records, of others each
        written("dense", lists)
    with pytest.raises(ConfigError, match="'x' is int64 in the data and float32 in the transform graph"):
        written("dense", part("other.parquet", x=[1, 2, 3], y=[1, 2, 3]))
    with pytest.raises(ConfigError, match=r"^feature 'x' is int64 in the data"):
        transform(
            part("other.parquet", x=[1, 2], y=[1, 2]),
            str(tmp_path / "dense"),
            str(tmp_path / "o"),
            runner="DirectRunner",
        )
    with pytest.raises(ConfigError, match="no feature 'x', which the transform graph needs for 'x'; it has y"):
        written("dense", part("missing.parquet", y=[1, 2, 3], z=[1, 2, 3]))
