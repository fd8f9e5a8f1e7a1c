"""tf.SequenceExample against TensorFlow: its protobuf reading and tf.io.parse_sequence_example."""

from __future__ import annotations

import json
import os
import pickle

import google.protobuf.message
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset, Split, read_split
from engine.schema.feature_spec import schema_from_feature_spec
from engine.schema.metadata_keys import SEQUENCE
from engine.schema.sequence import frame_field, sequence_schema
from tests.support.examples import (
    KEYS,
    delimited,
    encode_example,
    encode_feature,
    encode_sequence_example,
    wire_sequence_examples,
)

EXAMPLES = int(os.environ.get("FULLPASS_PROPERTY_EXAMPLES", "60"))
relaxed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
TYPES = {"bytes_list": pa.binary(), "float_list": pa.float32(), "int64_list": pa.int64()}


def write_tfrecord(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return str(path)


def as_protobuf(payload):
    """{key: [(kind, values) of each frame]} as protobuf reads the bytes."""
    example = tf.train.SequenceExample.FromString(payload)
    found = {}
    for key, frames in example.feature_lists.feature_list.items():
        kinds = [frame.WhichOneof("kind") for frame in frames.feature]
        found[key] = [
            (kind, list(getattr(frame, kind).value) if kind else []) for kind, frame in zip(kinds, frames.feature)
        ]
    return found


def table_of(path, *spec, **options):
    return pa.Table.from_batches(Dataset.open(path, *spec).read_batches(**options))


@relaxed
@given(payload=wire_sequence_examples())
def test_one_record_any_wire_shape_equals_protobuf(payload, tmp_path_factory):
    path = write_tfrecord(tmp_path_factory.getbasetemp() / "one.tfrecord", [payload])
    expected = as_protobuf(payload)
    for key in KEYS:
        frames = expected.get(key)
        kind = next((kind for kind, _ in frames or () if kind), "int64_list")
        schema = pa.schema([frame_field("column", key, pa.list_(TYPES[kind]), nullable=True)])
        got = table_of(path, schema).column(0)[0].as_py()
        if frames is None:
            assert got is None
        else:
            assert len(got) == len(frames)
            for values, (_, wanted) in zip(got, frames):
                np.testing.assert_array_equal(values, wanted)


frames_of_one = st.lists(st.integers(-9, 2**60), max_size=5)
frames_of_two = st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2), max_size=4)
frames_of_any = st.lists(st.lists(st.binary(max_size=9), max_size=3), max_size=4)


@relaxed
@given(
    rows=st.lists(
        st.tuples(frames_of_one, frames_of_two, st.none() | frames_of_any, st.none() | frames_of_one, st.booleans()),
        min_size=1,
        max_size=140,
    ),
    order=st.permutations([0, 1, 2, 3]),
    batch_rows=st.sampled_from([1, 63, 64, 65, 1000]),
)
def test_features_equal_parse_sequence_example(rows, order, batch_rows, tmp_path_factory):
    context = {"id": tf.io.FixedLenFeature([], tf.int64, 7), "tags": tf.io.VarLenFeature(tf.string)}
    sequence = {
        "one": tf.io.FixedLenSequenceFeature([], tf.int64),
        "two": tf.io.FixedLenSequenceFeature([2, 1], tf.float32),
        "var": tf.io.VarLenFeature(tf.string),
        "ragged": tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64),
        "maybe": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    }
    payloads = []
    for number, (one, two, texts, maybe, packed) in enumerate(rows):
        lists = [
            ("one", [encode_feature(3, [value], packed) for value in one]),
            ("two", [encode_feature(2, values, packed) for values in two]),
        ]
        lists += [("var", [encode_feature(1, values, True) for values in texts])] if texts is not None else []
        if maybe is not None:
            lists += [("maybe", [encode_feature(3, [value], True) for value in maybe])]
            lists += [("ragged", [encode_feature(3, maybe[:at], packed) for at in range(len(maybe))])]
        lists = [lists[at] for at in order if at < len(lists)] + lists[4:]
        entries = [("id", encode_feature(3, [number], True))] if packed else []
        entries += [("tags", encode_feature(1, [b"t"] * (number % 3), True))]
        payloads.append(encode_sequence_example(entries, lists, lists_first=number % 5 == 4))
    path = write_tfrecord(tmp_path_factory.getbasetemp() / "spec.tfrecord", payloads)
    dataset = Dataset.open(path, context, sequence)
    table = pa.Table.from_batches(dataset.read_batches(batch_rows))
    assert table.column_names == ["id", "tags", "one", "two", "var", "ragged", "maybe"]
    # The features that the schema gives back read the same, so they say the same.
    back_context, back_sequence = dataset.sequence_spec()
    assert back_sequence == sequence
    parsed_context, parsed, lengths = tf.io.parse_sequence_example(payloads, back_context, back_sequence)
    np.testing.assert_array_equal(table["id"].to_numpy(), parsed_context["id"])
    assert [values or [] for values in table["tags"].to_pylist()] == ragged_rows(parsed_context["tags"], len(rows))
    for name in ("one", "two", "maybe"):
        frames = [row or [] for row in table[name].to_pylist()]
        np.testing.assert_array_equal([len(row) for row in frames], lengths[name])
        for row, wanted in zip(frames, parsed[name].numpy()):
            np.testing.assert_array_equal(np.array(row, wanted.dtype).reshape(-1), wanted[: len(row)].reshape(-1))
    assert [row or [] for row in table["ragged"].to_pylist()] == parsed["ragged"].to_list()
    var = parsed["var"]
    got = [row or [] for row in table["var"].to_pylist()]
    places = [[b, f, v] for b, row in enumerate(got) for f, frame in enumerate(row) for v in range(len(frame))]
    np.testing.assert_array_equal(np.array(places, np.int64).reshape(-1, 3), var.indices)
    assert [value for row in got for frame in row for value in frame] == var.values.numpy().tolist()


def ragged_rows(sparse, count):
    rows = tf.RaggedTensor.from_sparse(sparse).to_list()
    return rows + [[]] * (count - len(rows))


ints = [encode_feature(3, [value], True) for value in (1, 2)]


@pytest.mark.parametrize(
    ("feature", "lists", "message"),
    [
        ("one", [], "feature list 'a' is missing, and the schema requires it"),
        ("one", [("a", [ints[0], b""])], "frame 1 of feature list 'a' has 0 values, the schema takes exactly one"),
        ("one", [("a", [encode_feature(3, [], True)])], "frame 0 of feature list 'a' has 0 values"),
        ("one", [("a", [*ints, encode_feature(3, [1, 2], True)])], "frame 2 of feature list 'a' has 2 values"),
        (
            "one",
            [("a", [encode_feature(2, [1.0], True)])],
            "frame 0 of feature list 'a' holds float, the schema says int64",
        ),
        ("two", [("a", [encode_feature(3, [1, 2], True), ints[0]])], "frame 1 of feature list 'a' has 1 values"),
        ("two", [("a", [b""])], "frame 0 of feature list 'a' has 0 values, the schema takes exactly 2"),
        ("var", [("a", [*ints, encode_feature(1, [b"x"], True)])], "frame 2 of feature list 'a' holds bytes"),
    ],
)
def test_what_tensorflow_refuses_is_refused_with_the_place(feature, lists, message, tmp_path):
    spec = {
        "one": tf.io.FixedLenSequenceFeature([], tf.int64),
        "two": tf.io.FixedLenSequenceFeature([2], tf.int64),
        "var": tf.io.VarLenFeature(tf.int64),
    }[feature]
    frames = [encode_feature(3, [1, 2], True)] if feature == "two" else ints
    good, bad = encode_sequence_example([], [("a", frames)]), encode_sequence_example([], lists)
    tf.io.parse_sequence_example([good], None, {"a": spec})
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_sequence_example([good, bad], None, {"a": spec})
    path = write_tfrecord(tmp_path / "x.tfrecord", [good, bad])
    with pytest.raises(DataError, match=message) as caught:
        table_of(path, None, {"a": spec})
    assert (caught.value.path, caught.value.record, caught.value.offset_bytes) == (path, 1, 16 + len(good))


def test_frame_that_protobuf_refuses_is_refused(tmp_path):
    payload = encode_sequence_example([], [("a", [ints[0], b"\x1a\x05\x0a\x01\x01"])])
    with pytest.raises(google.protobuf.message.DecodeError):
        tf.train.SequenceExample.FromString(payload)
    with pytest.raises(DataError, match="frame 1 of feature list 'a' is not a tf\\.Feature"):
        table_of(write_tfrecord(tmp_path / "x.tfrecord", [payload]), None, {"a": tf.io.VarLenFeature(tf.int64)})


@pytest.mark.parametrize("lists", [[], [("b", ints)], None])
def test_missing_list_is_null_where_it_may_be_missing_and_empty_where_it_is_empty(lists, tmp_path):
    payload = encode_example([]) if lists is None else encode_sequence_example([], lists)
    empty = encode_sequence_example([], [("a", [])])
    spec = {"a": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
    _, _, lengths = tf.io.parse_sequence_example([payload, empty], None, spec)
    assert lengths["a"].numpy().tolist() == [0, 0]
    path = write_tfrecord(tmp_path / "x.tfrecord", [payload, empty])
    assert table_of(path, None, spec)["a"].to_pylist() == [None, []]


def test_last_of_equal_keys_wins_and_feature_lists_fields_merge_as_in_parse_sequence_example(tmp_path):
    nine = encode_feature(3, [9], True)
    twice = encode_sequence_example([], [("a", ints), ("a", [nine])])
    merged = encode_sequence_example([], [("a", ints)]) + delimited(
        2, delimited(1, delimited(1, b"b") + delimited(2, delimited(1, nine)))
    )
    spec = {key: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True) for key in "ab"}
    _, parsed, lengths = tf.io.parse_sequence_example([twice, merged], None, spec)
    table = table_of(write_tfrecord(tmp_path / "x.tfrecord", [twice, merged]), None, spec)
    assert table["a"].to_pylist() == [[9], [1, 2]]
    assert table["b"].to_pylist() == [None, [9]]
    for key in "ab":
        for row, wanted, length in zip(table[key].to_pylist(), parsed[key].numpy(), lengths[key].numpy()):
            assert (row or []) == wanted[:length].tolist()


@pytest.mark.parametrize("other", [delimited(1, ints[0]), b""])
def test_entry_that_holds_its_list_twice_is_refused_as_in_parse_sequence_example(other, tmp_path):
    entry = delimited(1, b"a") + delimited(2, delimited(1, ints[0])) + delimited(2, other)
    payload = delimited(2, delimited(1, entry))
    spec = {"a": tf.io.VarLenFeature(tf.int64)}
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_sequence_example([payload], None, spec)
    with pytest.raises(DataError, match="value more than once"):
        table_of(write_tfrecord(tmp_path / "x.tfrecord", [payload]), None, spec)


def test_records_alike_with_some_that_are_not_equal_protobuf(tmp_path):
    """The decoder compares the usual record with the one before; whatever differs between two must not show."""
    rng = np.random.default_rng(5)
    wire = {"t": 1, "f": 2, "i": 3}
    kinds = {1: pa.binary(), 2: pa.float32(), 3: pa.int64()}
    fields = [pa.field(f"context_{name}", kinds[kind]) for name, kind in wire.items()]
    for name, kind in wire.items():
        fields.append(frame_field(f"{name}_one", f"{name}_one", kinds[kind], nullable=True))
        fields.append(frame_field(f"{name}_two", f"{name}_two", pa.list_(kinds[kind], 2), nullable=True))
        fields.append(frame_field(f"{name}_any", f"{name}_any", pa.list_(kinds[kind]), nullable=True))

    def feature(kind, count):
        values = [
            rng.bytes(int(rng.integers(0, 30)))
            if kind == 1
            else float(np.float32(rng.normal()))
            if kind == 2
            else int(v)
            for v in rng.integers(-(2**62), 2**62, count) >> rng.integers(0, 62)
        ]
        return encode_feature(kind, values, bool(rng.random() > 0.02))

    def shuffled(entries):
        entries = [entry for entry in entries if rng.random() > 0.03]
        return [entries[at] for at in rng.permutation(len(entries))] if rng.random() < 0.02 else entries

    payloads = []
    for _ in range(1500):
        lists = []
        for field in fields[3:]:
            count = {"one": 1, "two": 2}.get(field.name[2:])
            frames = [
                feature(wire[field.name[0]], int(rng.integers(0, 4)) if count is None else count)
                for _ in range(rng.integers(0, 6))
            ]
            lists.append((field.name, frames))
        if rng.random() < 0.02:
            lists.append(("foreign", [feature(3, 1)]))
        if rng.random() < 0.02:
            lists.append(lists[int(rng.integers(len(lists)))])
        payloads.append(
            encode_sequence_example(
                shuffled([(field.name, feature(wire[field.name[8]], 1)) for field in fields[:3]]),
                shuffled(lists),
                lists_first=bool(rng.random() < 0.02),
                junk=b"\x1a\x00" if rng.random() < 0.02 else b"",
            )
        )
    path = write_tfrecord(tmp_path / "x.tfrecord", payloads)
    expected = []
    for payload in payloads:
        found = as_protobuf(payload)
        context = tf.train.SequenceExample.FromString(payload).context.feature
        row = {}
        for field in fields[:3]:
            kind = context[field.name].WhichOneof("kind") if field.name in context else None
            row[field.name] = getattr(context[field.name], kind).value[0] if kind else None
        for field in fields[3:]:
            frames = found.get(field.name)
            values = None if frames is None else [values for _, values in frames]
            row[field.name] = [frame[0] for frame in values] if values and field.name.endswith("one") else values
        expected.append(row)
    schema = pa.schema(fields)
    some = ["i_any", "context_f", "t_two", "f_one"]
    for options in ({}, {"dictionary": True}, {"threads": 2}, {"columns": some}):
        table = pa.Table.from_batches(Dataset.open(path, schema).read_batches(700, **options))
        assert table.to_pylist() == [{name: row[name] for name in table.schema.names} for row in expected]


def test_context_and_list_of_one_name_are_two_columns(tmp_path):
    payload = encode_sequence_example([("a", encode_feature(1, [b"x"], True))], [("a", ints)])
    path = write_tfrecord(tmp_path / "x.tfrecord", [payload])
    expected = [{"a": b"x", "sequence/a": [1, 2]}]
    spec = {"a": tf.io.FixedLenFeature([], tf.string)}, {"a": tf.io.FixedLenSequenceFeature([], tf.int64)}
    assert table_of(path, *spec).to_pylist() == expected
    assert table_of(path).to_pylist() == expected
    assert Dataset.open(path).sequence_spec() == spec
    assert Dataset.open(path).schema.field("sequence/a").metadata[SEQUENCE] == b'{"key": "a"}'


def test_context_alone_is_read_by_a_plain_feature_spec_as_parse_example_does(tmp_path):
    payload = encode_sequence_example([("a", encode_feature(1, [b"x"], True))], [("a", ints)])
    spec = {"a": tf.io.FixedLenFeature([], tf.string)}
    assert tf.io.parse_example([payload], spec)["a"].numpy().tolist() == [b"x"]
    path = write_tfrecord(tmp_path / "x.tfrecord", [payload] * 200)
    assert table_of(path, spec)["a"].to_pylist() == [b"x"] * 200
    assert table_of(path, schema_from_feature_spec(spec))["a"].to_pylist() == [b"x"] * 200
    assert sequence_schema(schema_from_feature_spec(spec), {}).equals(schema_from_feature_spec(spec))


ROWS = 300
CONTEXT = {"id": tf.io.FixedLenFeature([], tf.int64)}
SEQUENCES = {
    "clicks": tf.io.FixedLenSequenceFeature([], tf.int64),
    "embedding": tf.io.FixedLenSequenceFeature([3], tf.float32),
    "words": tf.io.VarLenFeature(tf.string),
}


def session(number):
    frames = number % 4
    row = {
        "id": number,
        "clicks": list(range(frames)),
        "embedding": [[number, at, 0.5] for at in range(frames)],
        "words": [[b"w%d" % at] * (at + 1) for at in range(frames)],
    }
    kinds = {"clicks": 3, "embedding": 2, "words": 1}
    lists = [
        (key, [encode_feature(kind, value if isinstance(value, list) else [value], True) for value in row[key]])
        for key, kind in kinds.items()
    ]
    return row, encode_sequence_example([("id", encode_feature(3, [number], True))], lists)


@pytest.fixture
def sessions(tmp_path):
    rows, payloads = zip(*map(session, range(ROWS)))
    return write_tfrecord(tmp_path / "sessions.tfrecord", payloads), list(rows)


def test_schema_is_inferred_from_the_records(sessions):
    path, rows = sessions
    dataset = Dataset.open(path)
    assert {field.name: (str(field.type), field.nullable) for field in dataset.schema} == {
        "id": ("int64", False),
        "clicks": ("list<item: int64>", False),
        "embedding": ("list<item: list<item: float>>", False),
        "words": ("list<item: list<item: binary>>", False),
    }
    assert pa.Table.from_batches(dataset.read_batches()).to_pylist() == rows
    context, sequence = dataset.sequence_spec()
    assert context == CONTEXT
    assert sequence == SEQUENCES | {"embedding": tf.io.VarLenFeature(tf.float32)}
    # A feature spec knows no frames: the values of all of them.
    assert dataset.feature_spec() == CONTEXT | {
        "clicks": tf.io.VarLenFeature(tf.int64),
        "embedding": tf.io.VarLenFeature(tf.float32),
        "words": tf.io.VarLenFeature(tf.string),
    }


def test_frame_without_a_value_makes_the_inferred_column_lists_of_lists(tmp_path):
    payload = encode_sequence_example([], [("a", [ints[0], b"", ints[1]]), ("empty", [])])
    table = table_of(write_tfrecord(tmp_path / "x.tfrecord", [payload]))
    assert table.to_pylist() == [{"a": [[1], [], [2]]}]


def test_field_two_of_an_example_that_is_no_feature_lists_stays_unknown(tmp_path):
    payloads = [encode_example([("a", ints[0])]) + delimited(2, junk) for junk in (b"\xff\xff", b"\x0a\x03abc")]
    path = write_tfrecord(tmp_path / "x.tfrecord", payloads)
    assert table_of(path).to_pylist() == [{"a": 1}] * 2


def test_list_that_the_sample_did_not_show_is_an_error_not_a_loss(tmp_path):
    known = encode_sequence_example([("i", ints[0])], [("a", ints)])
    more = encode_sequence_example([("i", ints[0])], [("a", ints), ("late", ints)])
    path = write_tfrecord(tmp_path / "x.tfrecord", [known] * 100 + [more])
    whole = Dataset.open(write_tfrecord(tmp_path / "known.tfrecord", [known])).schema
    with pytest.raises(DataError, match="'late' is not in the schema") as caught:
        table_of(path, whole.with_metadata({"fullpass.inferred": "sample"}))
    assert caught.value.record == 100
    assert table_of(path, whole).num_rows == 101


def test_columns_splits_and_workers_read_the_same(sessions):
    path, rows = sessions
    dataset = Dataset.open(path, CONTEXT, SEQUENCES)
    found = table_of(path, CONTEXT, SEQUENCES, columns=["words", "id"])
    assert found.to_pylist() == [{"words": row["words"], "id": row["id"]} for row in rows]
    for target in (50, 1000):
        told = [json.loads(json.dumps(split.to_json())) for split in dataset.splits(target)]
        schema = pickle.loads(pickle.dumps(dataset.schema))
        parts = [batch for value in told for batch in read_split(Split.from_json(value), schema, 17)]
        assert [row for batch in parts for row in batch.to_pylist()] == rows


def test_parquet_made_of_them_has_the_same_rows_and_features(sessions, tmp_path):
    path, rows = sessions
    assert main(["ingest", path, "--out", str(tmp_path / "inferred"), "--num-shards", "3"]) == 0
    inferred = Dataset.open(tmp_path / "inferred")
    assert pa.Table.from_batches(inferred.read_batches()).to_pylist() == rows
    assert inferred.sequence_spec() == Dataset.open(path).sequence_spec()
    given = Dataset.open(path, CONTEXT, SEQUENCES)
    given.write(tmp_path / "given", format="parquet", num_shards=2)
    written = Dataset.open(tmp_path / "given")
    assert written.schema.equals(given.schema, check_metadata=True)
    assert pa.Table.from_batches(written.read_batches()).to_pylist() == rows
    assert written.sequence_spec() == (CONTEXT, SEQUENCES)
    bare = tmp_path / "bare"
    bare.mkdir()
    for shard in (tmp_path / "given").glob("data-*"):
        shard.rename(bare / shard.name)  # without its manifest: what the file itself keeps
    assert pa.Table.from_batches(Dataset.open(bare).read_batches()).to_pylist() == rows


def test_damage_is_reported_and_skipped_as_in_examples(sessions, tmp_path):
    path, rows = sessions
    payloads = [session(number)[1] for number in range(ROWS)]
    payloads[70] = payloads[70][:-3]
    payloads[130] = encode_sequence_example([("id", ints[0])], [("clicks", [b"\xff"])])
    broken = write_tfrecord(tmp_path / "broken.tfrecord", payloads)
    kept = table_of(broken, CONTEXT, SEQUENCES, on_damage="skip").to_pylist()
    assert kept == [row for row in rows if row["id"] not in (70, 130)]
    report = Dataset.open(broken, CONTEXT, SEQUENCES).verify()
    assert [(damage.record, damage.message) for damage in report.damages] == [
        (70, "the payload is not a tf.SequenceExample"),
        (130, "frame 0 of feature list 'clicks' is not a tf.Feature"),
    ]
    assert Dataset.open(path).verify().ok
    assert Dataset.open(path, CONTEXT, SEQUENCES).verify().num_records == ROWS


def test_feed_gives_one_value_a_frame_as_a_list_column(sessions):
    path, rows = sessions
    dataset = Dataset.open(path, CONTEXT, SEQUENCES)
    feed = dataset.feed(global_batch_size=100, shuffle=False, num_epochs=1, columns=["id", "clicks"])
    got = [feed.unpack(packed) for packed in feed.dataset()]
    assert [row for batch in got for row in ragged_rows(batch["clicks"], 100)] == [row["clicks"] for row in rows]
    with pytest.raises(ConfigError, match=r"'words' is of type .* cannot be fed"):
        dataset.feed(global_batch_size=100, columns=["words"])


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (tf.io.FixedLenFeature([], tf.int64), "is a FixedLenFeature; known are FixedLenSequenceFeature"),
        (tf.io.FixedLenSequenceFeature([], tf.int64, default_value=3), "has a default_value"),
        (tf.io.RaggedFeature(tf.int64, "other"), "no other value_key"),
        (tf.io.VarLenFeature(tf.float64), "has dtype float64"),
    ],
)
def test_sequence_feature_that_cannot_be_is_refused(feature, message, sessions):
    with pytest.raises(ConfigError, match=message):
        Dataset.open(sessions[0], None, {"a": feature})


def test_arrow_schema_says_itself_which_columns_are_lists(sessions):
    schema = Dataset.open(sessions[0]).schema
    with pytest.raises(ConfigError, match="leave sequence_features out"):
        Dataset.open(sessions[0], schema, SEQUENCES)
    deep = pa.schema([frame_field("words", "words", pa.list_(pa.list_(pa.binary())), nullable=True)])
    with pytest.raises(ConfigError, match="column 'words' is of a feature list and has type"):
        table_of(sessions[0], deep)
    with pytest.raises(ConfigError, match=r"a tf\.Example feature is one flat list"):
        table_of(sessions[0], pa.schema([pa.field("words", pa.list_(pa.list_(pa.binary())))]))
