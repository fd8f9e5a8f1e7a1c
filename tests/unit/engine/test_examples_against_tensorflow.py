"""The native decoder and encoder against TensorFlow: its protobuf reading, its batch parser, its TFRecord writer and reader."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import ConfigError, DataError, Dataset, write_batches
from engine.schema.feature_spec import schema_from_feature_spec
from tests.support.examples import KEYS, delimited, encode_example, encode_feature, features, wire_examples

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
    compression=st.sampled_from([None, "gzip", "zlib"]),
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


def test_records_alike_with_some_that_are_not_equal_protobuf(tmp_path):
    """The decoder compares the usual record with the one before; whatever differs between two must not show."""
    rng = np.random.default_rng(11)
    types = {1: pa.binary(), 2: pa.float32(), 3: pa.int64()}
    kinds = {f"{name}{'_' * width}": kind for width in (0, 9, 40) for name, kind in (("t", 1), ("f", 2), ("i", 3))}
    fields = [pa.field(key, types[kind]) for key, kind in kinds.items()]
    fields += [pa.field(key + "s", pa.list_(types[kind])) for key, kind in kinds.items()]
    # With a default, and in no record.
    fields += [pa.field("none", pa.binary()), pa.field("never", pa.float32(), False, {"fullpass.default": "2.5"})]

    def value(kind):
        if kind == 1:
            return rng.bytes(int(rng.choice([0, 3, 8, 16, 17, 100, 119, 120, 300])))
        return (
            float(np.float32(rng.normal())) if kind == 2 else int(rng.integers(-(2**62), 2**62) >> rng.integers(0, 62))
        )

    payloads = []
    for _ in range(1500):
        entries = []
        for field in fields[:-2]:
            kind = kinds[field.name.rstrip("s")]
            if rng.random() < 0.05:
                continue
            count = int(rng.integers(0, 4)) if pa.types.is_list(field.type) else 1
            entries.append(
                (field.name, encode_feature(kind, [value(kind) for _ in range(count)], rng.random() > 0.001))
            )
        if rng.random() < 0.02:
            entries = [entries[at] for at in rng.permutation(len(entries))]
        if rng.random() < 0.02:
            entries.append(("foreign", encode_feature(3, [5], True)))
        if entries and rng.random() < 0.02:
            entries.append(entries[int(rng.integers(len(entries)))])
        payloads.append(encode_example(entries, value_first=bool(rng.random() < 0.02)))
        if rng.random() < 0.01:
            payloads[-1] = encode_example([("t", encode_feature(1, [b"replaced"], True))]) + payloads[-1]
    path = write_tfrecord(tmp_path / "x.tfrecord", payloads)
    expected = []
    for payload in payloads:
        found = as_protobuf(payload)
        row = {"never": 2.5}
        for field in fields[:-1]:
            values = found.get(field.name, (None, None))[1]
            row[field.name] = values if pa.types.is_list(field.type) or values is None else values[0]
        expected.append(row)
    schema = pa.schema(fields)
    for options in ({}, {"dictionary": True}, {"threads": 2}, {"columns": ["i_________", "none", "ts", "never"]}):
        table = pa.Table.from_batches(Dataset.open(path, schema).read_batches(700, **options))
        assert table.to_pylist() == [{name: row[name] for name in table.schema.names} for row in expected]


@pytest.mark.parametrize("other", [encode_feature(3, [2], True), encode_feature(2, [1.5], True), b""])
def test_entry_that_holds_its_value_twice_is_refused_as_in_parse_example(other, tmp_path):
    entry = delimited(1, b"a") + delimited(2, encode_feature(3, [1], True)) + delimited(2, other)
    payload = delimited(1, delimited(1, entry))
    spec = {"a": tf.io.VarLenFeature(tf.int64)}
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_example([payload], spec)
    path = write_tfrecord(tmp_path / "x.tfrecord", [payload])
    with pytest.raises(DataError, match="value more than once"):
        list(Dataset.open(path, spec).read_batches())


def test_sparse_and_ragged_features_assembled_equal_parse_example(tmp_path):
    from engine.feed.tensorflow.composite import assemble

    rng = np.random.default_rng(3)
    spec = {
        "sparse": tf.io.SparseFeature("at", "weight", tf.float32, 50),
        "matrix": tf.io.SparseFeature(["row", "column"], "cell", tf.int64, [6, 7]),
        "words": tf.io.RaggedFeature(tf.string, row_splits_dtype=tf.int64),
        "flat": tf.io.RaggedFeature(tf.int64, "numbers", row_splits_dtype=tf.int64),
        "varlen": tf.io.VarLenFeature(tf.float32),
        "dense": tf.io.FixedLenFeature([2], tf.float32),
    }
    payloads = []
    for _ in range(200):
        count, cells = int(rng.integers(0, 5)), int(rng.integers(0, 4))
        lists = {
            "at": (3, rng.choice(50, count, replace=False).tolist()),
            "weight": (2, rng.normal(size=count).astype(np.float32).tolist()),
            "row": (3, rng.integers(0, 6, cells).tolist()),
            "column": (3, rng.choice(7, cells, replace=False).tolist()),
            "cell": (3, rng.integers(-9, 9, cells).tolist()),
            "words": (1, [b"w%d" % i for i in range(rng.integers(0, 4))]),
            "numbers": (3, rng.integers(-5, 2**40, rng.integers(0, 4)).tolist()),
            "varlen": (2, rng.normal(size=rng.integers(0, 3)).astype(np.float32).tolist()),
        }
        entries = [(key, encode_feature(kind, values, True)) for key, (kind, values) in lists.items() if values]
        payloads.append(encode_example([*entries, ("dense", encode_feature(2, [0.5, 1.5], True))]))
    dataset = Dataset.open(write_tfrecord(tmp_path / "x.tfrecord", payloads), spec)
    feed = dataset.feed(global_batch_size=len(payloads), shuffle=False, num_epochs=1)
    got = assemble(dataset.schema, feed.unpack(next(iter(feed.dataset()))))
    expected = tf.io.parse_example(payloads, dataset.feature_spec())
    assert sorted(got) == sorted(expected)
    for name, wanted in expected.items():
        assert type(got[name]) is type(wanted)
        if isinstance(wanted, tf.SparseTensor):
            np.testing.assert_array_equal(got[name].dense_shape, wanted.dense_shape)
            np.testing.assert_array_equal(got[name].indices, wanted.indices)
            np.testing.assert_array_equal(got[name].values, wanted.values)
        elif isinstance(wanted, tf.RaggedTensor):
            assert got[name].to_list() == wanted.to_list()
        else:
            np.testing.assert_array_equal(got[name], wanted)
    with pytest.raises(ConfigError, match="needs column 'at'"):
        assemble(dataset.schema, {"weight": got["varlen"]})
