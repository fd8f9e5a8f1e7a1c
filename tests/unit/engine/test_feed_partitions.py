"""Ragged features with partitions: what is put together from their columns is what tf.io.parse_example gives."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.feed.tensorflow.composite import assemble
from engine.schema.feature_spec import schema_from_feature_spec

KINDS = ["RowSplits", "RowLengths", "ValueRowIds", "RowLimits", "RowStarts"]


def encoded(kind, lengths):
    """Rows of these lengths as a partition of the kind says them."""
    limits = np.cumsum(lengths, dtype=np.int64).tolist()
    return {
        "RowLengths": lengths,
        "RowLimits": limits,
        "RowSplits": [0, *limits],
        "RowStarts": [0, *limits][:-1] if lengths else [],
        "ValueRowIds": [row for row, n in enumerate(lengths) for _ in range(n)],
    }[kind]


@st.composite
def features(draw):
    """A feature of up to three partitions and records that fit it: (spec, [{key: values}])."""
    kinds = draw(st.lists(st.sampled_from([*KINDS, "UniformRowLength"]), min_size=1, max_size=3))
    uniform = [draw(st.integers(1, 3)) for _ in kinds]
    splits = draw(st.sampled_from([tf.int32, tf.int64]))
    bytes_values = draw(st.booleans())
    partitions = [
        tf.io.RaggedFeature.UniformRowLength(n)
        if kind == "UniformRowLength"
        else getattr(tf.io.RaggedFeature, kind)(f"p{i}")
        for i, (kind, n) in enumerate(zip(kinds, uniform))
    ]
    dtype = tf.string if bytes_values else tf.int64
    spec = {"x": tf.io.RaggedFeature(dtype, "v", partitions, row_splits_dtype=splits, validate=True)}
    records = []
    for _ in range(draw(st.integers(1, 4))):
        record, rows = {}, None
        for i, (kind, n) in enumerate(zip(kinds, uniform)):
            count = draw(st.integers(0, 3)) if rows is None else rows
            if kind == "UniformRowLength":
                rows = count * n
                continue
            lengths = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
            if kind == "ValueRowIds" and lengths and not lengths[-1]:
                lengths[-1] = 1  # ids cannot say that a last row is empty
            record[f"p{i}"] = encoded(kind, lengths)
            rows = sum(lengths)
        record["v"] = [b"v%d" % j if bytes_values else j for j in range(rows)]
        records.append(record)
    return spec, records


def example(record):
    def feature(values):
        if values and isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    made = {key: feature(values) for key, values in record.items() if values}
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def columns(spec, records):
    schema = schema_from_feature_spec(spec)
    kind = spec["x"].dtype
    return schema, {
        f.name: tf.ragged.constant(
            [r[f.name] for r in records], kind if f.name == "v" else tf.int64, ragged_rank=1, row_splits_dtype=tf.int64
        )
        for f in schema
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(features(), st.integers(0, 9))
def test_partitions_assembled_equal_parse_example(drawn, number):
    spec, records = drawn
    schema, tensors = columns(spec, records)
    want = tf.io.parse_example([example(r) for r in records], spec)["x"]
    graph = number == 0  # a trace takes longer than all the rest
    got = (tf.function(lambda t: assemble(schema, t)) if graph else lambda t: assemble(schema, t))(tensors)
    assert list(got) == ["x"]
    got = got["x"]
    assert got.to_list() == want.to_list()
    assert (
        got.dtype == want.dtype
        and got.ragged_rank == want.ragged_rank
        and got.row_splits.dtype == want.row_splits.dtype
    )
    assert [s.numpy().tolist() for s in got.nested_row_splits] == [s.numpy().tolist() for s in want.nested_row_splits]
    assert got.flat_values.shape == want.flat_values.shape


@pytest.mark.parametrize(
    ("kind", "values", "partition"),
    [
        ("RowLengths", [1, 2, 3], [2]),
        ("RowLengths", [1, 2, 3], [4, -1]),
        ("RowLimits", [1, 2, 3], [3, 2]),
        ("RowLimits", [1, 2], [2, 3]),
        ("RowSplits", [1, 2], [1, 2]),
        ("RowSplits", [1, 2], []),
        ("RowStarts", [1, 2], [1]),
        ("RowStarts", [1, 2], [0, 3]),
        ("ValueRowIds", [1, 2], [0]),
        ("ValueRowIds", [1, 2, 3], [0, 2, 1]),
        ("ValueRowIds", [1, 2], [-1, 0]),
    ],
)
def test_partition_that_does_not_fit_its_values_is_refused_naming_it(kind, values, partition):
    spec = {"x": tf.io.RaggedFeature(tf.int64, "v", [getattr(tf.io.RaggedFeature, kind)("p0")])}
    good = {"v": [7], "p0": encoded(kind, [1])}
    schema, tensors = columns(spec, [good, {"v": values, "p0": partition}, good])
    with pytest.raises(tf.errors.InvalidArgumentError, match="feature 'x': partition 'p0'"):
        assemble(schema, tensors)


def test_uniform_length_that_leaves_values_over_is_refused():
    spec = {"x": tf.io.RaggedFeature(tf.int64, "v", [tf.io.RaggedFeature.UniformRowLength(2)])}
    schema, tensors = columns(spec, [{"v": [1, 2, 3]}, {"v": [4]}])
    with pytest.raises(tf.errors.InvalidArgumentError, match="of 2 leaves values over"):
        assemble(schema, tensors)
