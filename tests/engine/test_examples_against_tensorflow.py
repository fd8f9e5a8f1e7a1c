"""The native decoder and encoder against TensorFlow: its protobuf reading, its batch parser, its TFRecord writer and reader."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import DataError, Dataset, write_batches
from engine.schema import schema_from_feature_spec
from tests.engine.examples import KEYS, delimited, encode_example, encode_feature, features, wire_examples

tf = pytest.importorskip("tensorflow")

EXAMPLES = int(os.environ.get("FULLPASS_PROPERTY_EXAMPLES", "60"))
relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def write_tfrecord(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return str(path)


def read_all(path, schema, **options):
    return pa.Table.from_batches(Dataset.open(path, schema).read_batches(**options), schema=None if options else schema)


def as_protobuf(payload):
    """{key: (kind, values)} as protobuf reads the bytes."""
    example = tf.train.Example.FromString(payload)
    found = {}
    for key, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        found[key] = (kind, list(getattr(feature, kind).value) if kind else [])
    return found


@relaxed
@given(payload=wire_examples())
def test_one_record_any_wire_shape_equals_protobuf(payload, tmp_path_factory):
    path = write_tfrecord(tmp_path_factory.getbasetemp() / "one.tfrecord", [payload])
    expected = as_protobuf(payload)
    types = {"bytes_list": pa.binary(), "float_list": pa.float32(), "int64_list": pa.int64()}
    for key in KEYS:
        kind, values = expected.get(key, (None, []))
        schema = pa.schema([pa.field(key, pa.list_(types[kind or "int64_list"]))])
        got = read_all(path, schema).column(0)[0].as_py()
        if kind is None:
            assert got is None
        else:
            np.testing.assert_array_equal(got, values)


@relaxed
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.integers(-9, 2**40),
            st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3),
            st.none() | st.lists(st.binary(max_size=20), max_size=4),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=150,
    ),
    order=st.permutations([0, 1, 2]),
    batch_rows=st.sampled_from([1, 63, 64, 65, 1000]),
)
def test_feature_spec_equals_parse_example(rows, order, batch_rows, tmp_path_factory):
    spec = {
        "i": tf.io.FixedLenFeature([], tf.int64, -5),
        "f": tf.io.FixedLenFeature([3], tf.float32),
        "b": tf.io.VarLenFeature(tf.string),
        "d": tf.io.FixedLenFeature([2], tf.string, ["p", "q"]),
    }
    payloads = []
    for integer, triple, texts, packed, has_d in rows:
        entries = [("f", encode_feature(2, triple, packed))]
        entries += [("i", encode_feature(3, [integer], packed))] if integer is not None else []
        entries += [("b", encode_feature(1, texts, packed))] if texts is not None else []
        entries = [entries[i] for i in order if i < len(entries)]
        entries += [("d", encode_feature(1, [b"x", b""], True))] if has_d else []
        payloads.append(encode_example(entries))
    path = write_tfrecord(tmp_path_factory.getbasetemp() / "spec.tfrecord", payloads)
    parsed = tf.io.parse_example(payloads, spec)
    table = pa.Table.from_batches(Dataset.open(path, spec).read_batches(batch_rows))
    assert table.num_rows == len(rows)
    np.testing.assert_array_equal(table["i"].to_numpy(), parsed["i"].numpy())
    np.testing.assert_array_equal(np.array(table["f"].to_pylist(), np.float32), parsed["f"].numpy())
    np.testing.assert_array_equal(np.array(table["d"].to_pylist(), object), parsed["d"].numpy())
    ragged = tf.RaggedTensor.from_sparse(parsed["b"]).to_list()
    ragged += [[]] * (len(rows) - len(ragged))
    assert [values or [] for values in table["b"].to_pylist()] == ragged


def test_duplicate_keys_last_one_wins_as_in_tensorflow(tmp_path):
    payload = encode_example(
        [("a", encode_feature(3, [1], True)), ("b", encode_feature(3, [7], True)), ("a", encode_feature(3, [2], True))]
    )
    spec = {"a": tf.io.FixedLenFeature([], tf.int64)}
    path = write_tfrecord(tmp_path / "x.tfrecord", [payload] * 3)
    assert (
        read_all(path, schema_from_feature_spec(spec))["a"].to_pylist()
        == tf.io.parse_example([payload] * 3, spec)["a"].numpy().tolist()
        == [2, 2, 2]
    )


def test_features_field_twice_merges_as_in_protobuf(tmp_path):
    payload = encode_example([("a", encode_feature(3, [1], True))]) + encode_example(
        [("b", encode_feature(3, [2], True))]
    )
    schema = pa.schema([("a", pa.list_(pa.int64())), ("b", pa.list_(pa.int64()))])
    path = write_tfrecord(tmp_path / "x.tfrecord", [payload])
    assert read_all(path, schema).to_pylist() == [{"a": [1], "b": [2]}]
    assert as_protobuf(payload) == {"a": ("int64_list", [1]), "b": ("int64_list", [2])}


def test_lists_repeated_within_a_feature_merge_and_other_kind_replaces(tmp_path):
    merged = encode_feature(3, [1, 2], True) + encode_feature(3, [3], False)
    replaced = encode_feature(1, [b"gone"], True) + encode_feature(3, [4], True)
    mixed = delimited(3, delimited(1, b"\x05\x06") + b"\x08\x07")
    schema = pa.schema([("a", pa.list_(pa.int64()))])
    payloads = [encode_example([("a", value)]) for value in (merged, replaced, mixed)]
    path = write_tfrecord(tmp_path / "x.tfrecord", payloads)
    assert (
        [row["a"] for row in read_all(path, schema).to_pylist()]
        == [[1, 2, 3], [4], [5, 6, 7]]
        == [as_protobuf(p)["a"][1] for p in payloads]
    )


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "'a' is missing"),
        ([("a", encode_feature(3, [1, 2], True))], "has 2 values, the schema takes exactly one"),
        ([("a", encode_feature(2, [1.0], True))], "holds float, the schema says int64"),
        ([("a", encode_feature(3, [], True))], "has 0 values"),
    ],
)
def test_what_tensorflow_refuses_is_refused_with_the_place(entries, message, tmp_path):
    spec = {"a": tf.io.FixedLenFeature([], tf.int64)}
    good, bad = encode_example([("a", encode_feature(3, [1], True))]), encode_example(entries)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_example([good, bad], spec)
    path = write_tfrecord(tmp_path / "x.tfrecord", [good, bad])
    with pytest.raises(DataError, match=message) as caught:
        list(Dataset.open(path, spec).read_batches())
    assert (caught.value.path, caught.value.record, caught.value.offset_bytes) == (path, 1, 16 + len(good))


@relaxed
@given(
    rows=st.lists(st.lists(features, min_size=4, max_size=4), min_size=1, max_size=70),
    compression=st.sampled_from([None, "gzip"]),
)
def test_written_records_read_in_tensorflow(rows, compression, tmp_path_factory):
    kinds = [[kind for kind, _ in row] for row in rows]
    types = {1: pa.binary(), 2: pa.float32(), 3: pa.int64()}
    columns, fields = [], []
    for index in range(4):
        kind = kinds[0][index]
        values = [row[index][1] if row[index][0] == kind else None for row in rows]
        fields.append(pa.field(f"c{index}", pa.list_(types[kind])))
        columns.append(pa.array(values, fields[-1].type))
    batch = pa.record_batch(columns, pa.schema(fields))
    path = str(tmp_path_factory.getbasetemp() / "written.tfrecord")
    write_batches([batch.slice(0, 1), batch.slice(1)], batch.schema, path, "tfrecord", compression)
    payloads = [
        payload.numpy() for payload in tf.data.TFRecordDataset(path, compression_type=(compression or "").upper())
    ]
    expected = batch.to_pylist()
    assert len(payloads) == len(expected)
    for payload, row in zip(payloads, expected):
        got = {key: values for key, (_, values) in as_protobuf(payload).items()}
        assert got == {key: values for key, values in row.items() if values is not None}
    assert pa.Table.from_batches(Dataset.open(path, batch.schema).read_batches(7)).to_pylist() == expected


def test_dictionary_encoding_holds_the_same_values(tmp_path):
    texts = [b"v%d" % (i % 37) for i in range(1000)]
    payloads = [
        encode_example([("s", encode_feature(1, [text], True)), ("l", encode_feature(1, [text, b"x"], True))])
        for text in texts
    ]
    path = write_tfrecord(tmp_path / "x.tfrecord", payloads)
    schema = pa.schema([pa.field("s", pa.binary()), pa.field("l", pa.list_(pa.binary()))])
    batch = next(Dataset.open(path, schema).read_batches(dictionary=True))
    assert pa.types.is_dictionary(batch.column(0).type)
    assert len(batch.column(0).dictionary) == 37
    assert batch.column(0).to_pylist() == texts
    assert batch.column(1).to_pylist() == [[text, b"x"] for text in texts]
