"""tf.SequenceExample as it is written: what TensorFlow's protobuf and tf.io.parse_sequence_example read back."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset, write_batches
from engine.schema.sequence import frame_field

EXAMPLES = int(os.environ.get("FULLPASS_PROPERTY_EXAMPLES", "60"))
relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

ints, floats = st.integers(-(2**63), 2**63 - 1), st.floats(width=32, allow_nan=False)
texts = st.binary(max_size=5) | st.binary(min_size=120, max_size=300)


def lists_of(values, **sizes):
    return st.none() | st.lists(values, max_size=4, **sizes)


# Key, Arrow type of a frame, what a column of it may hold.
COLUMNS = [
    ("clicks", pa.int64(), lists_of(ints)),
    ("prices", pa.float32(), lists_of(floats)),
    ("words", pa.binary(), lists_of(texts)),
    ("pairs", pa.list_(pa.float32(), 2), lists_of(st.lists(floats, min_size=2, max_size=2))),
    ("tokens", pa.list_(pa.binary()), lists_of(st.lists(texts, max_size=3))),
    ("counts", pa.list_(pa.int64()), lists_of(st.lists(ints, max_size=3))),
]
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        *(frame_field(key, key, frame, nullable=True) for key, frame, _ in COLUMNS),
        pa.field("tags", pa.list_(pa.binary())),
    ]
)
rows_of_columns = st.lists(
    st.tuples(ints, *(values for _, _, values in COLUMNS), lists_of(texts)).map(
        lambda values: dict(zip(SCHEMA.names, values))
    ),
    min_size=1,
    max_size=90,
)


def payloads(path, compression=""):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path), compression)]


def as_row(payload):
    """The row that protobuf reads."""
    example = tf.train.SequenceExample.FromString(payload)
    context = example.context.feature
    row = {"id": context["id"].int64_list.value[0], "tags": None}
    if "tags" in context:
        row["tags"] = list(context["tags"].bytes_list.value)
    for key, frame, _ in COLUMNS:
        if key not in example.feature_lists.feature_list:
            row[key] = None
            continue
        frames = example.feature_lists.feature_list[key].feature
        values = [list(getattr(one, one.WhichOneof("kind")).value) for one in frames]
        row[key] = values if pa.types.is_nested(frame) else [value for (value,) in values]
    return row


@relaxed
@given(rows=rows_of_columns, skip=st.integers(0, 3), compression=st.sampled_from([None, "gzip"]))
def test_protobuf_reads_what_was_written(rows, skip, compression, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "written.tfrecord"
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA).slice(skip)
    assert write_batches([batch], SCHEMA, str(path), "tfrecord", compression) == batch.num_rows
    expected = batch.to_pylist()
    assert [as_row(payload) for payload in payloads(path, (compression or "").upper())] == expected
    assert pa.Table.from_batches(Dataset.open(path, SCHEMA).read_batches(), SCHEMA).to_pylist() == expected


def test_parse_sequence_example_reads_what_was_written(tmp_path):
    rng = np.random.default_rng(3)
    rows = [
        {"id": number, "clicks": rng.integers(0, 9, number % 5).tolist(), "pairs": rng.random((number % 3, 2)).tolist()}
        for number in range(200)
    ]
    fields = [SCHEMA.field("id")]
    fields += [frame_field(key, key, frame, nullable=False) for key, frame, _ in COLUMNS if key in ("clicks", "pairs")]
    schema = pa.schema(fields)
    path = tmp_path / "x.tfrecord"
    write_batches([pa.RecordBatch.from_pylist(rows, schema)], schema, str(path), "tfrecord")
    dataset = Dataset.open(path, schema)
    context, found, lengths = tf.io.parse_sequence_example(payloads(path), *dataset.sequence_spec())
    assert context["id"].numpy().tolist() == [row["id"] for row in rows]
    for key in ("clicks", "pairs"):
        assert lengths[key].numpy().tolist() == [len(row[key]) for row in rows]
        for values, row in zip(found[key].numpy(), rows):
            np.testing.assert_array_equal(
                values[: len(row[key])], np.array(row[key], values.dtype).reshape(-1, *values.shape[1:])
            )


def test_sharding_sequence_examples_keeps_them(tmp_path):
    rows = [
        {"id": n, "clicks": [n] * (n % 4), "tokens": [[b"a"] * (n % 3)] * 2, "tags": [b"t", b"u"]} for n in range(400)
    ]
    schema = pa.schema([SCHEMA.field(name) for name in ("id", "clicks", "tokens", "tags")])
    write_batches([pa.RecordBatch.from_pylist(rows, schema)], schema, str(tmp_path / "in.tfrecord"), "tfrecord")
    out = tmp_path / "out"
    assert (
        main(["ingest", str(tmp_path / "in.tfrecord"), "--out", str(out), "--format", "tfrecord", "--num-shards", "3"])
        == 0
    )
    assert main(["verify", str(out)]) == 0
    again = Dataset.open(out)
    assert sorted(pa.Table.from_batches(again.read_batches()).to_pylist(), key=lambda row: row["id"]) == rows
    assert set(again.sequence_spec()[1]) == {"clicks", "tokens"}
    whole = [payload for path in again.paths for payload in payloads(path)]
    assert len(whole) == len(rows)
    assert all(tf.train.SequenceExample.FromString(payload).feature_lists.feature_list for payload in whole)


def test_columns_of_one_key_stay_apart(tmp_path):
    schema = pa.schema([pa.field("a", pa.binary()), frame_field("sequence/a", "a", pa.int64(), nullable=True)])
    rows = [{"a": b"x", "sequence/a": [1, 2]}, {"a": None, "sequence/a": None}, {"a": None, "sequence/a": []}]
    path = tmp_path / "x.tfrecord"
    write_batches([pa.RecordBatch.from_pylist(rows, schema)], schema, str(path), "tfrecord")
    assert pa.Table.from_batches(Dataset.open(path, schema).read_batches()).to_pylist() == rows
    example = tf.train.SequenceExample.FromString(payloads(path)[0])
    assert example.context.feature["a"].bytes_list.value == [b"x"]
    assert [frame.int64_list.value[0] for frame in example.feature_lists.feature_list["a"].feature] == [1, 2]


def test_long_records_are_whole(tmp_path):
    schema = pa.schema([frame_field("words", "words", pa.list_(pa.binary()), nullable=True)])
    rows = [{"words": [[b"x" * 70_000] * 3, [], [b"y"]] * at} for at in range(12)]
    path = tmp_path / "x.tfrecord"
    write_batches([pa.RecordBatch.from_pylist(rows, schema)], schema, str(path), "tfrecord")
    assert pa.Table.from_batches(Dataset.open(path, schema).read_batches()).to_pylist() == rows


def test_a_frame_that_is_null_is_one_without_a_value(tmp_path):
    schema = pa.schema([frame_field("tokens", "tokens", pa.list_(pa.binary()), nullable=True)])
    path = tmp_path / "x.tfrecord"
    write_batches([pa.RecordBatch.from_pylist([{"tokens": [[b"a"], None]}], schema)], schema, str(path), "tfrecord")
    frames = tf.train.SequenceExample.FromString(payloads(path)[0]).feature_lists.feature_list["tokens"].feature
    assert [frame.WhichOneof("kind") for frame in frames] == ["bytes_list", None]
    assert pa.Table.from_batches(Dataset.open(path, schema).read_batches()).to_pylist() == [{"tokens": [[b"a"], []]}]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (pa.field("a", pa.list_(pa.int64())), [1, None]),
        (pa.field("a", pa.list_(pa.string())), [None]),
        (pa.field("a", pa.list_(pa.float32(), 2)), [0.5, None]),
        (frame_field("a", "a", pa.int64(), nullable=True), [1, None]),
        (frame_field("a", "a", pa.list_(pa.float32(), 2), nullable=True), [[0.5, 1.5], None]),
        (frame_field("a", "a", pa.list_(pa.binary()), nullable=True), [[b"x"], None, [None]]),
    ],
)
def test_a_null_inside_a_list_is_refused_with_its_row(field, values, tmp_path):
    schema = pa.schema([field])
    batches = [
        pa.RecordBatch.from_pylist([{"a": None}] * rows + [{"a": last}], schema)
        for rows, last in ((3, None), (2, values))
    ]
    with pytest.raises(DataError, match="record 6: column 'a' holds a null inside a list"):
        write_batches(batches, schema, str(tmp_path / "x.tfrecord"), "tfrecord")
    assert not list(tmp_path.iterdir())
    assert write_batches(batches, schema, str(tmp_path / "x.parquet")) == 7


def test_a_row_with_a_null_frame_is_not_taken_for_the_one_with_a_null(tmp_path):
    schema = pa.schema([frame_field("a", "a", pa.list_(pa.binary()), nullable=True)])
    batch = pa.RecordBatch.from_pylist([{"a": [None]}, {"a": [[b"x", None]]}], schema)
    with pytest.raises(DataError, match="record 1: column 'a' holds a null inside a list"):
        write_batches([batch], schema, str(tmp_path / "x.tfrecord"), "tfrecord")


def test_lists_of_lists_that_are_no_feature_list_are_refused(tmp_path):
    schema = pa.schema([pa.field("words", pa.list_(pa.list_(pa.binary())))])
    with pytest.raises(ConfigError, match=r"column 'words' is list<.*: a tf.Example feature is one flat list"):
        write_batches([], schema, str(tmp_path / "no.tfrecord"), "tfrecord")
    assert not list(tmp_path.iterdir())
