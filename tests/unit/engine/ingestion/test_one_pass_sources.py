"""What is read in one go (packed files, pipes, JSON lines, Avro) names the file and the record where it goes wrong."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import threading
import zlib

import fastavro
import pytest
import zstandard

from engine import DataError, ingest, open_source
from engine.formats.csv.options import CsvOptions
from engine.formats.csv.pieces import CsvPieces
from engine.formats.csv.text_stream import open_text

ROWS = 60_000
PACKINGS = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress,
    "zst": lambda data: zstandard.ZstdCompressor().compress(data),
}  # fmt: skip
UNPACKERS = {
    "gz": lambda: zlib.decompressobj(31), "bz2": bz2.BZ2Decompressor, "xz": lzma.LZMADecompressor,
    "zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}  # fmt: skip


def refused(tmp_path, path, **options):
    with pytest.raises(DataError) as caught:
        ingest(path, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    return caught.value


@pytest.fixture(scope="module")
def csv():
    return b"a,b\n" + b"".join(b"%d,t%d\n" % (i, i * 7919 % 10007) for i in range(ROWS))


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_packed_csv_that_is_cut_off_says_after_which_record(tmp_path, csv, packing):
    packed = PACKINGS[packing](csv)
    cut = packed[: len(packed) * 3 // 4]
    (tmp_path / f"a.csv.{packing}").write_bytes(cut)
    whole = UNPACKERS[packing]().decompress(cut).count(b"\n") - 1  # records: what the packing's own library still gives
    error = refused(tmp_path, tmp_path / f"a.csv.{packing}")
    assert error.path == str(tmp_path / f"a.csv.{packing}")
    assert "cannot be unpacked from here on" in error.message
    assert max(0, whole - 40_000) <= error.record <= max(0, whole)  # at most the last piece read is lost: 256 KiB


def test_a_pipe_that_is_cut_off_says_after_which_record(tmp_path, csv):
    os.mkfifo(tmp_path / "pipe")
    packed = gzip.compress(csv)
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(packed[: len(packed) // 2]), daemon=True)
    writer.start()
    error = refused(tmp_path, tmp_path / "pipe")
    writer.join()
    assert error.path == str(tmp_path / "pipe") and 0 < error.record < ROWS


def test_a_bad_row_before_the_cut_is_said_first(tmp_path, csv):
    packed = gzip.compress(csv.replace(b"\n100,", b"\n1,00,"))
    (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) // 2])
    error = refused(tmp_path, tmp_path / "a.csv.gz")
    assert error.record == 100 and "Expected 2 columns, got 3" in error.message


def test_a_quote_never_closed_names_its_record(tmp_path, csv):
    (tmp_path / "a.csv").write_bytes(csv.replace(b"\n50000,", b'\n50000,"'))
    error = refused(tmp_path, tmp_path / "a.csv")
    assert error.record == 50_000 and "opens at line 50002 is never closed" in error.message


def test_text_of_another_encoding_names_its_record(tmp_path):
    text = "a,b\n" + "".join(f"{i},t\n" for i in range(1000))
    (tmp_path / "a.csv").write_bytes(text.encode("utf-16")[:-1])
    error = refused(tmp_path, tmp_path / "a.csv", csv_options=CsvOptions(encoding="utf-16"))
    assert error.path == str(tmp_path / "a.csv") and error.record is not None


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst"])
def test_json_lines_that_are_cut_off_say_after_which_record(tmp_path, packing, monkeypatch):
    monkeypatch.setattr("engine.formats.foreign.jsonl.BLOCK_BYTES", 1 << 17)
    lines = b"".join(json.dumps({"x": i, "t": f"t{i * 7919 % 10007}"}).encode() + b"\n" for i in range(ROWS))
    packed = PACKINGS[packing](lines)
    cut = packed[: len(packed) * 3 // 4]
    (tmp_path / f"a.jsonl.{packing}").write_bytes(cut)
    whole = UNPACKERS[packing]().decompress(cut).count(b"\n")
    error = refused(tmp_path, tmp_path / f"a.jsonl.{packing}")
    assert error.path == str(tmp_path / f"a.jsonl.{packing}") and "cannot be unpacked from here on" in error.message
    assert max(0, whole - 40_000) <= error.record <= max(0, whole)


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_avro_names_the_first_record_of_a_block_that_is_cut_or_damaged(tmp_path, codec, monkeypatch):
    monkeypatch.setattr("engine.formats.foreign.avro.BLOCK_BYTES", 4000)
    path = tmp_path / "a.avro"
    schema = {"type": "record", "name": "r", "fields": [{"name": "x", "type": "long"}, {"name": "t", "type": "string"}]}
    with open(path, "wb") as file:
        fastavro.writer(file, schema, ({"x": i, "t": f"t{i}"} for i in range(9000)), codec=codec, sync_interval=2000)
    with open(path, "rb") as file:
        starts, first = {}, 0
        for block in fastavro.block_reader(file):
            starts[first] = block.offset
            first += block.num_records
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    error = refused(tmp_path, path)
    cut_in = max(record for record, offset in starts.items() if offset < len(data) * 2 // 3)
    assert (error.path, error.record, error.offset_bytes) == (str(path), cut_in, starts[cut_in])
    damaged = bytearray(data)
    middle = sorted(starts.values())[len(starts) // 2]
    damaged[middle + 10 : middle + 40] = b"\xff" * 30
    path.write_bytes(damaged)
    error = refused(tmp_path, path)
    assert error.path == str(path) and error.record in starts and error.record > 0


def test_pieces_of_thousands_of_columns_are_larger(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.formats.csv.pieces.PIECE_BYTES", 1 << 14)
    sizes = {}
    for columns in (4, 2048):
        rows = (1 << 20) // (2 * columns)
        line = ",".join("1" * columns) + "\n"
        path = tmp_path / f"{columns}.csv"
        path.write_text(",".join(f"c{i}" for i in range(columns)) + "\n" + line * rows)
        with open_text(str(path), "utf-8") as text:
            sizes[columns] = [len(piece.data) for piece in CsvPieces(text, CsvOptions())]
        table = open_source(path)
        assert table.num_records == rows and len(table.schema) == columns
    assert max(sizes[4]) <= 1 << 14 < max(sizes[2048]) <= 1 << 16
