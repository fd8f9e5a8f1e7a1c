"""JSON lines, Arrow IPC, ORC and Avro: read as the library that wrote them reads them, by blocks, wherever Parquet is."""

from __future__ import annotations

import bz2
import datetime as dt
import decimal
import gzip
import json

import pyarrow as pa
import pyarrow.compute
import pyarrow.feather
import pyarrow.json
import pytest

from engine import ConfigError, DataError, Dataset, ingest, read_split, write_batches
from engine.dataset.inspect import write_manifest
from engine.formats.foreign import avro, jsonl
from tests.support.examples import varint

ROWS = [
    {"i": i, "x": i / 2, "s": f"text {i}", "missing": None if i % 3 else i, "l": list(range(i % 4)), "b": i % 2 == 0}
    for i in range(1000)
]
TABLE = pa.Table.from_pylist(ROWS)


def write_jsonl(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_arrow(path, table=TABLE):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)


def write_stream(path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=300)


def write_feather(path):
    pyarrow.feather.write_feather(TABLE, str(path), compression="zstd", chunksize=300)


def write_orc(path):
    from pyarrow import orc

    orc.write_table(TABLE, str(path), stripe_size=4096, batch_size=100)


def write_avro(path):
    fastavro = pytest.importorskip("fastavro")
    fields = {"i": "long", "x": "double", "s": "string", "missing": ["null", "long"], "b": "boolean"}
    schema = {
        "type": "record",
        "name": "row",
        "fields": [
            *({"name": name, "type": kind} for name, kind in fields.items()),
            {"name": "l", "type": {"type": "array", "items": "long"}},
        ],
    }
    with open(path, "wb") as file:
        fastavro.writer(file, schema, ROWS, codec="deflate", sync_interval=2000)


FORMATS = {
    "jsonl": (write_jsonl, "jsonl"),
    "arrow": (write_arrow, "arrow"),
    "stream.arrow": (write_stream, "arrow"),
    "feather": (write_feather, "arrow"),
    "orc": (write_orc, "orc"),
    "avro": (write_avro, "avro"),
}


@pytest.fixture(params=FORMATS)
def path(request, tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 5000)
    monkeypatch.setattr(avro, "BLOCK_BYTES", 5000)
    write, _ = FORMATS[request.param]
    file = tmp_path / f"in/data.{request.param}"
    file.parent.mkdir()
    write(file)
    return str(file)


def rows_of(batches):
    return [row for batch in batches for row in batch.to_pylist()]


def test_every_row_and_type(path):
    ds = Dataset.open(path)
    assert ds.format == FORMATS[path.rpartition("data.")[2]][1]
    assert rows_of(ds.read_batches(batch_rows=64)) == [{name: row[name] for name in ds.schema.names} for row in ROWS]
    assert ds.num_records == 1000
    nullable = {field.name for field in ds.schema if field.nullable}
    assert nullable == {"missing"}, "what is always there is known to be"
    assert ds.schema.field("i").type == pa.int64() and ds.schema.field("s").type == pa.string()


def test_splits_and_columns_cover_every_row_once(path):
    ds = Dataset.open(path)
    parts = ds.splits(3000)
    assert len(parts) > 1 or "stream" in path
    found = rows_of(batch for split in parts for batch in read_split(split, ds.schema, columns=["s", "i"]))
    assert found == [{"s": row["s"], "i": row["i"]} for row in ROWS]
    assert sum(batch.num_rows for batch in ds.read_batches(columns=[])) == 1000
    texts = next(ds.read_batches(dictionary=["s"])).column(ds.schema.names.index("s"))
    assert pa.types.is_dictionary(texts.type)
    with pytest.raises(ConfigError, match="column 'nope' not found; available columns: "):
        list(ds.read_batches(columns=["nope"]))


def test_manifest_verify_and_feed(path):
    write_manifest(Dataset.open(path))
    ds = Dataset.open(path)
    assert len(ds.known_entries) == 1 and ds.verify().ok and ds.verify().against_manifest
    feed = ds.feed(global_batch_size=100, num_epochs=1, seed=1, columns=["i", "x"])
    seen = [value for batch in feed for value in feed.unpack_numpy(batch)["i"].tolist()]
    assert sorted(seen) == list(range(1000))


@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_ingested(path, tmp_path, format):
    ingest(path, tmp_path / "out", format, num_shards=3)
    found = rows_of(Dataset.open(str(tmp_path / "out")).read_batches(columns=["i", "missing"]))
    assert found == [{"i": row["i"], "missing": row["missing"]} for row in ROWS]


def test_a_cut_file_is_refused_and_named(path):
    with open(path, "rb") as file:
        whole = file.read()
    with open(path, "wb") as file:
        file.write(whole[: len(whole) - 37])
    with pytest.raises(DataError) as caught:
        ds = Dataset.open(path)
        rows_of(ds.read_batches())
    assert caught.value.path == path
    assert not Dataset.open(path).verify().ok


@pytest.mark.parametrize("mark", [b"{", b"ORC", b"Obj\x01"])
@pytest.mark.parametrize("compression", [None, "gzip", "zlib"])
def test_a_record_whose_length_spells_the_mark_of_another_format_is_a_record(tmp_path, mark, compression):
    length = int.from_bytes(mark, "little")
    schema = pa.schema([pa.field("b", pa.binary(), nullable=False)])
    path = str(tmp_path / "a.unknown")
    for filler in range(length - 40, length):  # the framing of the message takes some bytes, by its length
        if filler > 0 and example_bytes(filler) == length:
            break
    write_batches([pa.record_batch([[b"x" * filler]], schema=schema)], schema, path, "tfrecord", compression)
    ds = Dataset.open(path)
    assert ds.format == "tfrecord"
    assert [len(row["b"]) for row in rows_of(ds.read_batches())] == [filler]
    if compression is None:
        with open(path, "rb") as file:
            assert file.read(len(mark)) == mark


def example_bytes(filler):
    """Bytes of the tf.Example of one feature `b` of so many bytes."""
    size = filler
    for _ in range(2):  # value, bytes list
        size = 1 + len(varint(size)) + size
    size = 1 + len(varint(size)) + size + 3  # the map entry's value, and its key
    for _ in range(2):  # entry, features
        size = 1 + len(varint(size)) + size
    return size


def test_only_parquet_and_tfrecord_are_written(tmp_path):
    for format in ("orc", "jsonl"):
        with pytest.raises(ConfigError, match="it can be 'parquet' or 'tfrecord'"):
            ingest("x", tmp_path / "out", format)


def test_files_that_differ_are_unified_as_parquets_are(tmp_path, caplog):
    write_jsonl(tmp_path / "a.jsonl", [{"x": 1, "y": "a"}])
    write_jsonl(tmp_path / "b.jsonl", [{"x": 2.5}])
    assert rows_of(Dataset.open(str(tmp_path)).read_batches()) == [{"x": 1.0, "y": "a"}, {"x": 2.5, "y": None}]
    assert "it is read as double" in caplog.text


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_compressed_json_lines(tmp_path, suffix, pack, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 5000)
    write_jsonl(tmp_path / "plain.jsonl")
    path = tmp_path / f"data.jsonl.{suffix}"
    path.write_bytes(pack((tmp_path / "plain.jsonl").read_bytes()))
    assert rows_of(Dataset.open(str(path)).read_batches()) == rows_of(
        Dataset.open(str(tmp_path / "plain.jsonl")).read_batches()
    )


def test_json_text_that_looks_like_a_time_stays_text(tmp_path):
    rows = [
        {"t": "2020-01-01T00:00:00Z", "l": ["2020-01-01"], "k": "2020-01-01"},
        {"t": "2020-01-02 00:00", "l": [], "k": "x"},
    ]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert rows_of(Dataset.open(str(tmp_path / "a.jsonl")).read_batches()) == rows


def test_json_blank_lines_and_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf\n{"a": 1}\n\n{"a": 2}')
    ds = Dataset.open(str(tmp_path / "a.json"))
    assert rows_of(ds.read_batches()) == [{"a": 1}, {"a": 2}] and ds.num_records == 2


def test_a_json_integer_that_no_type_holds_is_not_rounded(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 12345678901234567890}\n{"id": 12345678901234567891}\n')
    with pytest.raises(DataError, match="column 'id' holds integers that int64 does not"):
        Dataset.open(str(tmp_path / "a.jsonl")).schema  # noqa: B018


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": "x"}', "changed from number to string"),
        ('{"a": 1', "Missing a comma"),
        ("[1]", "here is '\\[1\\]' and not an object"),
        ('{"a": "\udcff"}', "not text of UTF-8"),
    ],
)
def test_a_bad_json_line_is_named_with_its_record(tmp_path, line, said, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 100)
    text = '{"a": 1}\n' * 50 + line + "\n" + '{"a": 2}\n'
    (tmp_path / "a.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=said) as caught:
        Dataset.open(str(tmp_path / "a.jsonl")).schema  # noqa: B018
    assert caught.value.path == str(tmp_path / "a.jsonl") and caught.value.record == 50


def test_a_json_array_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "a.json").write_text('[{"a": 1}]')
    with pytest.raises(DataError, match="is one JSON array"):
        Dataset.open(str(tmp_path / "a.json")).schema  # noqa: B018


def test_avro_logical_types_are_arrows(tmp_path):
    fastavro = pytest.importorskip("fastavro")
    kinds = {
        "day": {"type": "int", "logicalType": "date"},
        "when": {"type": "long", "logicalType": "timestamp-micros"},
        "price": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        "kind": {"type": "enum", "name": "k", "symbols": ["A", "B"]},
        "raw": {"type": "fixed", "name": "f", "size": 2},
        "maybe": ["null", "float"],
        "inner": {"type": "record", "name": "r", "fields": [{"name": "z", "type": "int"}]},
    }
    schema = {"type": "record", "name": "row", "fields": [{"name": n, "type": k} for n, k in kinds.items()]}
    row = {
        "day": dt.date(2020, 1, 2),
        "when": dt.datetime(2020, 1, 2, 3, 4, 5, 6, dt.timezone.utc),
        "price": decimal.Decimal("1.25"),
        "kind": "B",
        "raw": b"ab",
        "maybe": None,
        "inner": {"z": 7},
    }
    with open(tmp_path / "a.avro", "wb") as file:
        fastavro.writer(file, schema, [row])
    ds = Dataset.open(str(tmp_path / "a.avro"))
    assert rows_of(ds.read_batches()) == [row]
    assert [str(field.type) for field in ds.schema][:3] == ["date32[day]", "timestamp[us, tz=UTC]", "decimal128(9, 2)"]


def test_a_directory_that_hugging_face_saved(tmp_path):
    """`Dataset.save_to_disk`: streams beside dataset_info.json and state.json."""
    write_stream(tmp_path / "data-00000-of-00001.arrow")
    for name in ("dataset_info.json", "state.json"):
        (tmp_path / name).write_text('{"_data_files": []}')
    assert Dataset.open(str(tmp_path)).num_records == 1000


@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        ('{"x": 9007199254740993}\n{"x": 1.5}', True),
        ('{"x": 18446744073709551615}\n{"x": 18446744073709551614}', True),
        ('{"x": [1.5, 9007199254740993]}', True),
        ('{"x": [9007199254740993, 1.5]}', True),
        ('{"é": 9007199254740993}\n{"é": 1.5}', True),
        ('{"x": [9007199254740992, 9007199254740993, 0.5]}', True),
        ('{"a\\/b": 9007199254740993}\n{"a/b": 1.5}', True),
        ('{"x": {"y": 18446744073709551615}}', True),
        ('{"x": [{"y": [0.5, 9007199254740993]}]}', True),
        ('{"x": ' + "1" * 400 + "}", True),
        ('{"x": [1e300], "id": 9007199254740993}', False),
        ('{"x": {"id": 9007199254740993, "y": 1e300}}', False),
        ('{"x": 9007199254740992}\n{"x": 1.5}', False),
        ('{"id": 1234567890123456789, "x": 1e300}', False),
        ('{"x": 1e300, "id": [1234567890123456789]}', False),
        ('{"x": 10000000000000000000000}\n{"x": 1}', False),
    ],
)
def test_integers_that_a_double_would_round_are_refused_and_no_others(tmp_path, lines, refused):
    (tmp_path / "a.jsonl").write_text(lines + "\n")
    if refused:
        with pytest.raises(DataError, match="that a double would round"):
            Dataset.open(tmp_path / "a.jsonl").schema_of_all_records()
        return
    found = [row for batch in Dataset.open(tmp_path / "a.jsonl").read_batches() for row in batch.to_pylist()]
    assert found == [json.loads(line) for line in lines.splitlines()]


LAYOUTS = {
    "run ends of text": pa.compute.run_end_encode(pa.array(["a", "a", None, "b"])),
    "run ends, sliced": pa.compute.run_end_encode(pa.array([9.5, 1.5, 1.5, None, 2.5])).slice(1),
    "list views": pa.ListViewArray.from_arrays([3, 0, 0, 1], [2, 0, 3, 2], pa.array([0, 1, 2, 3, 4])),
    "list views with a null": pa.array([[1, 2], None, [], [3]], pa.list_view(pa.int64())),
    "lists of list views": pa.array([[[1, 2], None], None, [], [None, [3]]], pa.list_(pa.list_view(pa.int64()))),
    "large list views": pa.array([["a"], None, [], ["b", "c"]], pa.large_list_view(pa.string())),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_newer_layouts_are_read_and_written(tmp_path, kind):
    table, path = pa.table({"c": LAYOUTS[kind], "k": range(4)}), tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    expected = LAYOUTS[kind].to_pylist()
    ingest(path, tmp_path / "out", num_shards=1)
    for source in (path, tmp_path / "out"):
        batches = list(Dataset.open(source).read_batches())
        pa.Table.from_batches(batches).validate(full=True)
        assert pa.Table.from_batches(batches)["c"].to_pylist() == expected


def test_a_type_that_parquet_cannot_hold_names_its_column(tmp_path):
    months = pa.array([pa.MonthDayNano([1, 2, 3])])
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file,
        pa.ipc.new_file(file, pa.schema([("x", pa.int64()), ("m", months.type)])) as writer,
    ):
        writer.write_table(pa.table({"x": [1], "m": months}))
    with pytest.raises(ConfigError, match="column 'm' has type month_day_nano_interval, which Parquet cannot hold"):
        ingest(tmp_path / "a.arrow", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_packed_json_lines_are_parsed_before_they_are_read_and_not_again(tmp_path, monkeypatch):
    path, parsed = tmp_path / "a.jsonl.gz", []
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 4096)
    rows = [
        {"i": i, "t": "2020-01-01T00:00:00" if i < 500 else "soon", "n": None if i == 7 else 1} for i in range(1000)
    ]
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + "".join(json.dumps(row) + "\n" for row in rows).encode()))
    read_json = pyarrow.json.read_json
    monkeypatch.setattr(
        pyarrow.json, "read_json", lambda *given, **named: parsed.append(1) or read_json(*given, **named)
    )
    dataset = Dataset.open(path)
    nullable = [field.name for field in dataset.schema if field.nullable]
    assert (dataset.num_records, nullable, dataset.schema.field("t").type) == (1000, ["n"], pa.string())
    looked = len(parsed)
    assert pa.Table.from_batches(dataset.read_batches()).to_pylist() == rows
    assert len(parsed) == looked > 2
