"""Files of a few bytes that say, or unpack to, more than there is: refused by name, in memory that the file does not choose."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import textwrap
import zlib

import fastavro
import pyarrow as pa
import pyarrow.orc
import pytest

from engine import DataError, Dataset
from engine.formats.foreign import arrow_ipc, avro_codecs, jsonl, orc
from tests.support.examples import varint

SYNC = b"s" * 16


def signed(value):
    return varint(value * 2 if value >= 0 else -value * 2 - 1)


def record(kind):
    return {"type": "record", "name": "r", "fields": [{"name": "a", "type": kind}]}


def write_avro(path, kind, count, data, codec="null"):
    schema = json.dumps(record(kind)).encode()
    head = b"".join(
        signed(len(part)) + part
        for pair in ((b"avro.schema", schema), (b"avro.codec", codec.encode()))
        for part in pair
    )
    path.write_bytes(b"Obj\x01" + signed(2) + head + b"\0" + SYNC + signed(count) + signed(len(data)) + data + SYNC)
    return path


def read_all(path):
    return list(Dataset.open(path).read_batches())


@pytest.mark.parametrize(
    ("shape", "closing"), [("[", "]"), ('{"a":', "}"), ("[\n", "]"), ('{"b":"]]]]","a":[', "]}")], ids=str
)
def test_json_that_is_nested_too_deeply_ends_no_process(tmp_path, shape, closing):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a":1}\n' + '{"a":' + shape * 100_000 + "1" + closing * 100_000 + "}\n")
    with pytest.raises(DataError, match=r"x\.jsonl, record 0: objects and lists are nested .* deep; 128 are read"):
        read_all(path)


def test_json_as_deep_as_is_read_and_brackets_in_texts(tmp_path):
    path = tmp_path / "x.jsonl"
    text = '\\"' + "[{" * 500 + "\\\\"
    path.write_text('{"a":' + "[" * 127 + "1" + "]" * 127 + ',"b":"' + text + '"}\n')
    (batch,) = read_all(path)
    assert batch.column("b").to_pylist() == ['"' + "[{" * 500 + "\\"]
    assert str(batch.schema.field("a").type).count("list") == 127


@pytest.mark.parametrize("packed", [True, False])
def test_a_json_line_without_an_end_is_not_taken_whole(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(jsonl, "MOST_BYTES", 1 << 18)
    path = tmp_path / "x.jsonl"
    data = b'{"a":"b"}\n{"a":"' + b"x" * (1 << 20)
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(DataError, match=r"x\.jsonl.*the line is longer than"):
        read_all(path)


def test_packed_json_lines_of_any_length_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 1000)
    rows = [{"a": "x" * length} for length in (0, 5000, 999, 1, 12000, 3)]
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert pa.Table.from_batches(read_all(path)).to_pylist() == rows


@pytest.mark.parametrize("kind", ["null", "long"])
def test_avro_that_says_more_records_than_its_bytes_may_hold(tmp_path, kind):
    path = write_avro(tmp_path / "x.avro", kind, 1 << 40, b"\2" if kind == "long" else b"")
    with pytest.raises(
        DataError, match=r"x\.avro, record 0, byte \d+: the block that begins here says 1,099,511,627,776 records"
    ):
        read_all(path)


def test_avro_records_that_take_no_byte_are_counted(tmp_path):
    path = tmp_path / "x.avro"
    with path.open("wb") as file:
        fastavro.writer(file, record("null"), [{"a": None}] * 1000)
    assert sum(batch.num_rows for batch in read_all(path)) == 1000


@pytest.mark.parametrize(
    "items",
    ["null", {"type": "record", "name": "e", "fields": [{"name": "n", "type": "null"}]}],
    ids=["null", "record"],
)
def test_avro_lists_of_nothing_are_refused(tmp_path, items):
    path = write_avro(tmp_path / "x.avro", {"type": "array", "items": items}, 1, signed(1 << 40) + b"\0")
    with pytest.raises(DataError, match=r"x\.avro: field 'a' is a list of values that take no byte"):
        read_all(path)


def test_avro_of_a_fixed_size_that_no_column_has(tmp_path):
    path = write_avro(tmp_path / "x.avro", {"type": "fixed", "name": "f", "size": 1 << 40}, 1, b"x")
    with pytest.raises(DataError, match=r"x\.avro: field 'a' is values of 1099511627776 bytes"):
        read_all(path)


def _raw_deflate(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def _snappy(data):
    return pa.compress(data, "snappy", asbytes=True) + zlib.crc32(data).to_bytes(4, "big")


def _zstd(data):
    return pa.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize(
    ("codec", "pack"),
    [
        ("null", lambda data: data),
        ("deflate", _raw_deflate),
        ("bzip2", bz2.compress),
        ("bzip2", lambda data: bz2.compress(data[:10]) + bz2.compress(data[10:])),
        ("xz", lzma.compress),
        ("zstandard", _zstd),
        ("zstandard", lambda data: _zstd(data[:10]) + _zstd(data[10:])),
        ("snappy", _snappy),
    ],
    ids=["null", "deflate", "bzip2", "two of bzip2", "xz", "zstandard", "two of zstandard", "snappy"],
)
def test_avro_blocks_that_unpack_to_too_much(tmp_path, monkeypatch, codec, pack):
    data = signed(300_000) + b"x" * 300_000
    path = write_avro(tmp_path / "x.avro", "bytes", 1, pack(data), codec)
    monkeypatch.setattr(avro_codecs, "STEP_BYTES", 1 << 12)
    monkeypatch.setattr(avro_codecs, "MOST_BYTES", 1 << 18)
    dataset = Dataset.open(path)
    with pytest.raises(DataError, match=r"x\.avro, record 0: .*unpacks to more than"):
        list(dataset.read_batches())
    monkeypatch.setattr(avro_codecs, "MOST_BYTES", 1 << 20)
    (batch,) = dataset.read_batches()
    assert batch.to_pylist() == [{"a": b"x" * 300_000}]


def test_what_a_reader_does_not_say_is_said(tmp_path):
    path = write_avro(tmp_path / "x.avro", "long", 2, b"\2")
    with pytest.raises(
        DataError, match=r"record 0: the block that begins here \(block 0\) cannot be read: it ends too early"
    ):
        read_all(path)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("said", [1 << 44, -5])
def test_arrow_buffers_that_say_a_forged_length(tmp_path, codec, said):
    batch = pa.record_batch({"a": ["x" * 1000] * 1000})
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch)
    length = (4 * 1001).to_bytes(8, "little")  # of the offsets, in front of them
    assert sink.getvalue().count(length) == 1
    path = tmp_path / "x.arrow"
    path.write_bytes(sink.getvalue().replace(length, said.to_bytes(8, "little", signed=True)))
    with pytest.raises(DataError, match=r"x\.arrow, record 0: the block that begins here \(block 0\) cannot be read"):
        read_all(path)


@pytest.mark.parametrize("most_bytes", [1 << 30, 1000], ids=["by stripe", "in batches"])
@pytest.mark.parametrize("columns", [None, ["s"], ["x", "l"], []])
def test_orc_stripes_are_read_whole_or_in_batches(tmp_path, monkeypatch, most_bytes, columns):
    table = pa.table({"x": range(5000), "s": [f"s{n}" for n in range(5000)], "l": [[n] * (n % 3) for n in range(5000)]})
    pyarrow.orc.write_table(table, str(tmp_path / "x.orc"), stripe_size=4096, batch_size=500)
    monkeypatch.setattr(orc, "MOST_STRIPE_BYTES", most_bytes)
    monkeypatch.setattr(orc, "BATCH_BYTES", 1000)
    dataset = Dataset.open(tmp_path / "x.orc")
    assert (len(dataset.manifest.block_records()) > 1) is (most_bytes > 1000)
    assert dataset.num_records == 5000 and dataset.verify().ok
    found = list(dataset.read_batches(columns=columns))
    assert sum(batch.num_rows for batch in found) == 5000
    if columns != []:
        assert pa.Table.from_batches(found).to_pylist() == table.select(columns or table.schema.names).to_pylist()
        monkeypatch.setattr("engine.formats.spool.MEMORY_BYTES", 2000)
        kept = list(dataset.read_batches(columns=columns, on_damage="skip"))
        assert kept == found, "a block that counts whole or not at all waits on the disk"


def test_an_orc_stripe_of_equal_values_is_not_held_whole(tmp_path):
    """Kilobytes that are 360 MB in memory."""
    chunk = pa.table({name: pa.repeat(7, 1_000_000) for name in "abc"})
    with pyarrow.orc.ORCWriter(str(tmp_path / "x.orc"), compression="zlib", stripe_size=1 << 30) as writer:
        writer.write(pa.concat_tables([chunk] * 15))
    assert (tmp_path / "x.orc").stat().st_size < 1 << 20
    program = """
        import resource, sys
        from engine import Dataset
        from engine.formats.foreign import orc
        orc.MOST_STRIPE_BYTES, orc.BATCH_BYTES = 128 << 20, 16 << 20
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        data = Dataset.open(sys.argv[1])
        before = peak()
        rows = sum(batch.num_rows for batch in data.read_batches())
        print(rows, data.num_records, peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "x.orc")]
    rows, records, grown_mib = map(
        int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    )
    assert rows == records == 15_000_000 and grown_mib < 200


@pytest.mark.parametrize("value", ["x" * 10_000, b"x" * 10_000, [7] * 2500], ids=["text", "bytes", "list"])
def test_orc_values_of_which_a_file_has_one_are_bounded_by_what_its_footer_says(tmp_path, monkeypatch, value):
    table = pa.table({"s": [value] * 3000, "x": range(3000)})
    pyarrow.orc.write_table(
        table, str(tmp_path / "x.orc"), compression="zlib", stripe_size=1 << 30, dictionary_key_size_threshold=1.0
    )
    assert (tmp_path / "x.orc").stat().st_size < 200_000 and table.nbytes > 20 << 20
    monkeypatch.setattr(orc, "MOST_STRIPE_BYTES", 1 << 20)
    monkeypatch.setattr(orc, "BATCH_BYTES", 1 << 20)
    batches = read_all(tmp_path / "x.orc")
    assert pa.Table.from_batches(batches).to_pylist() == table.to_pylist()
    assert max(batch.nbytes for batch in batches) < 2 << 20


@pytest.mark.parametrize("values", [["x" * 1000, None, "y"], [1, None, 2]], ids=["texts", "numbers"])
def test_arrow_runs_are_decoded_by_as_many_rows_as_there_is_room_for(tmp_path, monkeypatch, values):
    monkeypatch.setattr(arrow_ipc, "MOST_RUN_BYTES", 10_000)
    ends = pa.array([3000, 3500, 4000], pa.int32())
    batch = pa.record_batch({"s": pa.RunEndEncodedArray.from_arrays(ends, pa.array(values)), "x": range(4000)})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), batch.schema) as writer:
        writer.write_batch(batch)
    dataset = Dataset.open(tmp_path / "x.arrow")
    batches = list(dataset.read_batches())
    assert [row for each in batches for row in each.to_pylist()] == batch.to_pylist()
    assert dataset.num_records == 4000 and max(each.nbytes for each in batches) < 40_000


def test_an_orc_footer_that_contradicts_itself_is_refused(tmp_path):
    pyarrow.orc.write_table(pa.table({"x": range(300)}), str(tmp_path / "x.orc"), compression="uncompressed")
    data = (tmp_path / "x.orc").read_bytes()
    rows = b"\x28\xac\x02"  # field 5 of a stripe: 300 rows
    assert data.count(rows) == 1
    (tmp_path / "x.orc").write_bytes(data.replace(rows, b"\x28\xad\x02"))
    with pytest.raises(DataError, match=r"its stripes have 301 rows, and its footer says 300"):
        read_all(tmp_path / "x.orc")
