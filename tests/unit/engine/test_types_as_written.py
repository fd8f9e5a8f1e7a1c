"""Types and nestings that Avro, Arrow, ORC and Parquet can hold: every value as its own library reads it, or refused with a reason."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import uuid

import fastavro
import numpy as np
import polars
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine import ConfigError, DataError, Dataset, ingest
from engine.formats.damage import DamageLog
from engine.formats.options import ReadOptions
from engine.schema.plain_layouts import plain_array

UTC = dt.timezone.utc
INNER = {"type": "record", "name": "Inner", "fields": [{"name": "a", "type": "int"}]}
ENUM = {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}
FIXED = {"type": "fixed", "name": "Four", "size": 4}
ID = {"type": "string", "logicalType": "uuid"}


def rows(path, **options):
    return [row for batch in Dataset.open(path).read_batches(**options) for row in batch.to_pylist()]


def avro(path, fields, records):
    schema = {
        "type": "record",
        "name": "R",
        "namespace": "x.y",
        "fields": [{"name": n, "type": t} for n, t in fields.items()],
    }
    with open(path, "wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), records)
    with open(path, "rb") as file:
        return list(fastavro.reader(file))


def as_text(value):
    if isinstance(value, dict):
        return {key: as_text(each) for key, each in value.items()}
    return (
        [as_text(each) for each in value]
        if isinstance(value, list)
        else str(value)
        if isinstance(value, uuid.UUID)
        else value
    )


@pytest.mark.parametrize(
    ("fields", "record"),
    [
        ({"r": INNER, "s": "Inner", "t": ["null", "x.y.Inner"]}, {"r": {"a": 1}, "s": {"a": 2}, "t": None}),
        ({"e": ENUM, "f": "Kind", "g": {"type": "array", "items": "Kind"}}, {"e": "A", "f": "B", "g": ["B", "A"]}),
        ({"f": FIXED, "g": ["null", "Four"]}, {"f": b"abcd", "g": b"dcba"}),
        ({"u": ["null", "int", "long"]}, {"u": 2**60 + 1}),
        ({"u": ["int", "double"], "v": ["float", "double", "null"]}, {"u": 7, "v": 1e300}),
        (
            {"u": {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, "v": "U"},
            {"u": uuid.UUID(int=5).bytes, "v": uuid.UUID(int=1 << 127).bytes},
        ),
        ({"u": ID, "l": {"type": "array", "items": ID}}, {"u": uuid.UUID(int=5), "l": [uuid.UUID(int=6)]}),
        ({"r": {"type": "record", "name": "Q", "fields": [{"name": "u", "type": ["null", ID]}]}}, {"r": {"u": uuid.UUID(int=7)}}),
        (
            {"d": {"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 2}},
            {"d": decimal.Decimal("12345678901234567890123456789012345678901.12")},
        ),
        (
            {"a": {"type": "long", "logicalType": "local-timestamp-micros"}, "b": {"type": "long", "logicalType": "timestamp-millis"}},
            {"a": dt.datetime.fromisoformat("1960-01-01T00:00:00.000005"), "b": dt.datetime(2020, 1, 1, tzinfo=UTC)},
        ),
    ],
)  # fmt: skip
def test_avro_is_read_as_fastavro_does(tmp_path, fields, record):
    written = avro(tmp_path / "a.avro", fields, [record])
    assert rows(tmp_path / "a.avro") == as_text(written)


@pytest.mark.parametrize(
    ("kind", "record", "message"),
    [
        (["null", "int", "string"], 1, "field 'x' is a union of int, string, and no column holds both"),
        ({"type": "array", "items": ["int", "string"]}, [1, "a"], "field 'x' is a union of int, string"),
        (["null", "x.y.R"], None, "field 'x' is a 'x.y.R' within a 'x.y.R', and no column's type holds itself"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 80}, decimal.Decimal(1), "decimals of 80 digits"),
    ],
)
def test_avro_that_no_column_holds_is_refused(tmp_path, kind, record, message):
    avro(tmp_path / "a.avro", {"x": kind}, [{"x": record}])
    with pytest.raises(DataError, match=message) as caught:
        rows(tmp_path / "a.avro")
    assert caught.value.path == str(tmp_path / "a.avro")


@pytest.mark.parametrize("format", ["parquet", "ipc"])
def test_integers_of_128_bits_are_refused_with_what_to_do(tmp_path, format):
    frame = polars.DataFrame({"a": polars.Series([2**100], dtype=polars.Int128)})
    path = tmp_path / f"x.{format}"
    getattr(frame, f"write_{format}")(path)
    with pytest.raises(
        DataError, match=r"has a column of integers of 128 bits .*write it anew as text or as a decimal"
    ) as caught:
        rows(path)
    assert caught.value.path == str(path)
    getattr(frame.with_columns(polars.col("a").cast(polars.Decimal(38, 0))), f"write_{format}")(path)
    assert rows(path) == [{"a": decimal.Decimal(2**100)}]


def test_a_union_of_whole_numbers_and_fractions_is_refused_where_a_double_would_round(tmp_path):
    avro(tmp_path / "a.avro", {"x": ["long", "double"]}, [{"x": 0.5}, {"x": 2**60 + 1}])
    with pytest.raises(DataError, match="cannot be read: Integer value 1152921504606846977"):
        rows(tmp_path / "a.avro")


PAIRS = pa.list_(pa.int64(), 2)
NULL_IN_DICTIONARY = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int8()), pa.array(["a", None]))
CODES = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int8()), pa.array([1, 2]))
HALVES = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int8()), pa.array(np.array([1, 2.5], np.float16)))
VIEWS = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int8()), pa.array(["a", "b"], pa.string_view()))
TWO_BY_TWO = pa.array([0, 2, 4])
ARROW = {
    "dictionary of float16": HALVES,
    "dictionary of views": VIEWS,
    "lists of dictionaries of numbers": pa.ListArray.from_arrays(TWO_BY_TWO, CODES),
    "lists of dictionaries of float16": pa.ListArray.from_arrays(TWO_BY_TWO, HALVES),
    "lists of dictionaries of views": pa.ListArray.from_arrays(TWO_BY_TWO, VIEWS),
    "pairs of dictionaries": pa.FixedSizeListArray.from_arrays(CODES, 2),
    "struct with dictionaries": pa.StructArray.from_arrays([CODES, HALVES], ["c", "h"]),
    "map to dictionaries": pa.MapArray.from_arrays(TWO_BY_TWO, pa.array(["a", "b", "c", "d"]), HALVES),
    "lists of structs with dictionaries": pa.ListArray.from_arrays(
        TWO_BY_TWO, pa.StructArray.from_arrays([CODES, HALVES], ["c", "h"])
    ),
    "dictionary with a null": NULL_IN_DICTIONARY,
    "lists of dictionaries with a null": pa.ListArray.from_arrays(pa.array([0, 2, 2, 4]), NULL_IN_DICTIONARY),
    "lists of pairs": pa.array([[[1, 2], None], [], None], pa.list_(PAIRS)),
    "large lists of pairs": pa.array([[[1, 2], None], []], pa.large_list(PAIRS)),
    "pairs of pairs": pa.array([[[1, 2], None], None], pa.list_(PAIRS, 2)),
    "struct with pairs": pa.array([{"v": [1, 2]}, {"v": None}, None], pa.struct([("v", PAIRS)])),
    "map to pairs": pa.array([[("a", [1, 2])], [("b", None)]], pa.map_(pa.string(), PAIRS)),
    "lists of the size 0": pa.array([[], [], None], pa.list_(pa.int64(), 0)),
    "lists of the size 0, none missing": pa.array([[], []], pa.list_(pa.int64(), 0)),
    "bytes of the size 0": pa.array([b"", None], pa.binary(0)),
}


@pytest.mark.parametrize("name", ARROW)
def test_what_arrow_holds_is_read_from_parquet_by_pyarrow(tmp_path, name):
    column = ARROW[name]
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("x", column.type)])) as file:
        file.write_batch(pa.record_batch([column], ["x"]))
    expected = column.to_pylist()
    assert [row["x"] for row in rows(tmp_path / "a.arrow")] == expected
    ingest(tmp_path / "a.arrow", tmp_path / "out", num_shards=1)
    (shard,) = (tmp_path / "out").glob("*.parquet")
    assert pq.read_table(shard)["x"].to_pylist() == expected
    assert [row["x"] for row in rows(tmp_path / "out")] == expected


def test_values_that_parquet_cannot_hold_are_refused_in_one_line(tmp_path, capsys):
    struct = pa.StructArray.from_arrays([NULL_IN_DICTIONARY], ["d"])
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("x", struct.type)])) as file:
        file.write_batch(pa.record_batch([struct], ["x"]))
    assert main(["-q", "ingest", str(tmp_path / "a.arrow"), "--out", str(tmp_path / "out")]) == 2
    assert "Parquet cannot hold these records: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "values",
    [
        pa.array([np.float16(0.5), None, np.float16(1.5)], pa.float16()),
        pa.array([[1], None, [2, 3]]),
        pa.array([{"a": 1}, None, {"a": 2}]),
    ],
)
def test_a_null_that_a_dictionary_of_any_values_holds_is_missing(tmp_path, values):
    column = pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 2], pa.int8()), values)
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("x", column.type)])) as file:
        file.write_batch(pa.record_batch([column], ["x"]))
    first, _, last = values.to_pylist()
    assert [row["x"] for row in rows(tmp_path / "a.arrow")] == [None, first, None, last]


def test_an_ordered_dictionary_with_a_null_keeps_its_order():
    sizes = pa.DictionaryArray.from_arrays(pa.array([3, 1, 2, None, 0]), pa.array(["s", None, "m", "l"]), ordered=True)
    found = plain_array(sizes.slice(1))
    assert found.type.ordered and found.dictionary.to_pylist() == ["s", "m", "l"]
    assert found.to_pylist() == [None, "m", None, "s"] and found.null_count == 2


def test_a_null_that_a_dictionary_holds_is_missing(tmp_path):
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("x", NULL_IN_DICTIONARY.type)])) as file:
        file.write_batch(pa.record_batch([NULL_IN_DICTIONARY.slice(0, 2)], ["x"]))
    assert Dataset.open(tmp_path / "a.arrow").schema.field("x").nullable
    ingest(tmp_path / "a.arrow", tmp_path / "out", "tfrecord", num_shards=1)
    assert rows(tmp_path / "out") == [{"x": b"a"}, {"x": None}]


def test_tensors_of_another_order_of_axes_are_refused(tmp_path):
    for order, refused in ((None, False), ([0, 1], False), ([1, 0], True)):
        kind = pa.fixed_shape_tensor(pa.int64(), [2, 3], permutation=order)
        column = pa.ExtensionArray.from_storage(kind, pa.array([[1, 2, 3, 4, 5, 6]], pa.list_(pa.int64(), 6)))
        with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("x", kind)])) as file:
            file.write_batch(pa.record_batch([column], ["x"]))
        if not refused:
            assert rows(tmp_path / "a.arrow") == [{"x": [1, 2, 3, 4, 5, 6]}]
            continue
        with pytest.raises(DataError, match=r"column 'x' holds tensors whose axes .* \(permutation \[1, 0\]\)"):
            rows(tmp_path / "a.arrow")


def test_names_with_dots_are_not_those_of_nested_columns(tmp_path):
    table = pa.table({"a.b": [1, 2], "a": pa.array([{"b": 7, "c": 8}, {"b": 9, "c": None}]), "a.c": ["x", None]})
    pyarrow.orc.write_table(table, tmp_path / "a.orc")
    pq.write_table(table, tmp_path / "a.parquet")
    for name in ("a.orc", "a.parquet"):
        assert rows(tmp_path / name) == table.to_pylist()
        for columns in (["a.b"], ["a"], ["a.c", "a.b"]):
            assert rows(tmp_path / name, columns=columns) == table.select(columns).to_pylist()


LATE = dt.datetime.fromisoformat("9999-12-31")
NOW = dt.datetime.fromisoformat("2020-01-02T03:04:05.678901")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([NOW, None, LATE], pa.timestamp("us")),
        pa.array([[NOW], None, [NOW, LATE]], pa.list_(pa.timestamp("us"))),
        pa.array([{"t": NOW}, None, {"t": dt.datetime.fromisoformat("0001-01-01")}]),
        pa.array([[("k", NOW)], None, [("k", LATE)]], pa.map_(pa.string(), pa.timestamp("us"))),
    ],
)
def test_times_of_96_bits_that_64_do_not_reach_are_refused(tmp_path, column):
    path = tmp_path / "a.parquet"
    table = pa.table({"x": [1, 2, 3, 4], "t": pa.concat_arrays([column.slice(0, 1), column])})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, row_group_size=2)
    assert pq.ParquetFile(path, coerce_int96_timestamp_unit="us").read()["t"].to_pylist() == table["t"].to_pylist()
    with pytest.raises(DataError, match=r"column 't' holds a time of 96 bits.* reach from 1677 to 2262") as caught:
        rows(path)
    assert (caught.value.path, caught.value.record) == (str(path), 3)
    first = Dataset.open(path).read_batches(batch_rows=2)
    assert next(iter(first)).to_pylist() == table.slice(0, 2).to_pylist()
    assert rows(path, columns=["x"]) == table.select(["x"]).to_pylist()
    assert main(["-q", "verify", str(path)]) == 3
    damage = DamageLog(ReadOptions(on_damage="skip"), quiet=True)
    left = rows(path, on_damage="skip", damage=damage)
    assert left == table.slice(0, 2).to_pylist() and damage.records == 2
    assert [fault.record for fault in damage.faults] == [3]
    with pytest.raises(
        DataError, match=r"2 damaged records, more than skip_budget=1 allows; the last: .*time of 96 bits"
    ):
        rows(path, on_damage="skip", skip_budget=1)
    pq.write_table(table.slice(0, 3), path, use_deprecated_int96_timestamps=True)
    assert rows(path) == pq.read_table(path).to_pylist()


def test_records_without_a_column_are_counted_or_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n{}\n{}\n")
    assert rows(tmp_path / "a.jsonl") == [{}, {}, {}]
    with pytest.raises(ConfigError, match="the records have no column, and Parquet counts rows by their values"):
        ingest(tmp_path / "a.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    ingest(tmp_path / "a.jsonl", tmp_path / "out", "tfrecord", num_shards=1)
    (shard,) = (tmp_path / "out").glob("*.tfrecord")
    assert shard.stat().st_size == 3 * 18  # a frame of 16 bytes, and an Example's empty Features of 2
    assert Dataset.open(tmp_path / "out").num_records == 3


def test_floats_of_16_bits_are_keys_and_strata(tmp_path):
    values = np.tile(np.array([0.0, -0.0, 1.5, 0.1], np.float16), 50)
    table = pa.table({"id": range(200), "x": values})
    pq.write_table(table, tmp_path / "a.parquet")
    for how in ({"split_by": ["x"]}, {"stratify_by": "x", "label": "x"}):
        report = ingest(tmp_path / "a.parquet", tmp_path / "out", num_shards=1, fractions={"a": 0.5, "b": 0.5}, **how)
        parts = [rows(tmp_path / "out" / name) for name in "ab"]
        assert sorted((row["id"], row["x"]) for part in parts for row in part) == list(enumerate(values.tolist()))
        counts = [collections.Counter(row["x"] for row in part) for part in parts]  # 0.0 and -0.0 are one key
        assert (
            set(counts[0]).isdisjoint(counts[1])
            if "split_by" in how
            else counts[0] == counts[1] == {0.0: 50, 1.5: 25, values[3]: 25}
        )
    assert sum(report.labels["a"].values()) == 100
