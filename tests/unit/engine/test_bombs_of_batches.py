"""Arrow's record batches and Avro's blocks that become much more in memory than they are in a file."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tracemalloc
from decimal import Decimal

import fastavro
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from engine import DataError, Dataset
from engine.formats.foreign import arrow_ipc, avro, ipc_unpacked
from tests.unit.engine.test_bombs import SYNC, read_all, record, signed, write_avro

NAMES = ["file", "stream"]
WRITERS = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}


def rows_of(path):
    return [row for batch in Dataset.open(path).read_batches() for row in batch.to_pylist()]


def batch_of(rows, words):
    values = range(rows)
    return pa.record_batch(
        {
            "i": pa.array(values, pa.int64()),
            "s": [None if n % 7 == 0 else f"text {n}" for n in values],
            "d": pa.array([words[n % len(words)] for n in values]).dictionary_encode(),
            "l": [[n] * (n % 4) for n in values],
            "b": [n % 3 == 0 for n in values],
            "r": [{"x": n, "y": str(n)} for n in values],
            "m": pa.array([Decimal(n) for n in values], pa.decimal256(50, 3)),
            "n": pa.nulls(rows),
        }
    )


def write(path, kind, batches, codec="zstd"):
    options = pa.ipc.IpcWriteOptions(compression=codec, emit_dictionary_deltas=True)
    with WRITERS[kind](str(path), batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("kind", NAMES)
def test_batches_that_become_much_are_unpacked_on_the_disk(tmp_path, monkeypatch, kind, codec):
    monkeypatch.setattr(arrow_ipc, "MOST_BYTES", 4000)
    batches = [
        batch_of(10, ["x"]),
        batch_of(3000, ["x", "y"]),
        batch_of(2, ["x", "y", "zz"]),
        batch_of(2000, ["x", "y", "zz"]),
    ]
    write(tmp_path / "x.arrow", kind, batches, codec)
    assert rows_of(tmp_path / "x.arrow") == [row for batch in batches for row in batch.to_pylist()]
    dataset = Dataset.open(tmp_path / "x.arrow")
    assert dataset.num_records == 5012 and dataset.verify().ok


@pytest.mark.parametrize("kind", NAMES)
def test_dictionaries_that_become_much_are_unpacked_on_the_disk(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(arrow_ipc, "MOST_BYTES", 4000)
    batches = [batch_of(20, [f"{n}" * 900 for n in range(20)])] * 2
    write(tmp_path / "x.arrow", kind, batches)
    assert rows_of(tmp_path / "x.arrow") == [row for batch in batches for row in batch.to_pylist()]


def test_a_file_of_polars_is_unpacked_on_the_disk(tmp_path, monkeypatch):
    """It begins with no schema, and numbers its dictionaries in its own way."""
    monkeypatch.setattr(arrow_ipc, "MOST_BYTES", 4000)
    frame = pl.DataFrame({"i": range(3000), "s": [f"text {n}" for n in range(3000)]}).with_columns(
        c=pl.col("s").cast(pl.Categorical), l=pl.concat_list("s", "s").cast(pl.List(pl.Categorical))
    )
    frame.write_ipc(tmp_path / "x.arrow", compression="zstd")
    assert rows_of(tmp_path / "x.arrow") == frame.to_dicts()


@pytest.mark.parametrize("kind", NAMES)
def test_kilobytes_of_zeros_take_no_hundred_megabytes(tmp_path, kind):
    write(tmp_path / "x.arrow", kind, [pa.record_batch({"a": np.zeros(20_000_000, np.int64)})])
    assert (tmp_path / "x.arrow").stat().st_size < 20_000
    program = """
        import sys
        import pyarrow as pa
        from engine import Dataset
        from engine.formats.foreign import arrow_ipc
        arrow_ipc.MOST_BYTES = 32 << 20
        rows = sum(batch.num_rows for batch in Dataset.open(sys.argv[1]).read_batches())
        print(rows, pa.default_memory_pool().max_memory() >> 20)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "x.arrow")]
    rows, most_mib = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert rows == 20_000_000 and most_mib < 64


@pytest.mark.parametrize("kind", NAMES)
def test_a_batch_that_the_disk_has_no_room_for_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(arrow_ipc, "MOST_BYTES", 4000)
    monkeypatch.setattr(ipc_unpacked, "SHARE_OF_FREE_DISK", 0.0)
    write(tmp_path / "x.arrow", kind, [pa.record_batch({"a": np.zeros(1000, np.int64)})])
    with pytest.raises(
        DataError, match=r"x\.arrow.*it unpacks to 8,000 bytes, and .* has .* left: set TMPDIR to where"
    ):
        read_all(tmp_path / "x.arrow")


@pytest.mark.parametrize("said", [7999, 8001, -9])
def test_a_buffer_that_becomes_another_length_than_it_says(tmp_path, monkeypatch, said):
    monkeypatch.setattr(arrow_ipc, "MOST_BYTES", 4000)
    write(tmp_path / "x.arrow", "file", [pa.record_batch({"a": np.zeros(1000, np.int64)})])
    data = (tmp_path / "x.arrow").read_bytes()
    assert data.count((8000).to_bytes(8, "little")) == 1
    (tmp_path / "x.arrow").write_bytes(
        data.replace((8000).to_bytes(8, "little"), said.to_bytes(8, "little", signed=True))
    )
    with pytest.raises(DataError, match=rf"x\.arrow.*a buffer says that it unpacks to {said:,}"):
        read_all(tmp_path / "x.arrow")


TEXT = "x" * 1000
SHARED = {
    "string views": pa.array([TEXT, None, "y"] * 1000, pa.string_view()),
    "dictionary": pa.array([TEXT, None, "y"] * 1000).dictionary_encode(),
    "dictionary of views": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None] * 1000), pa.array([TEXT, "y"], pa.string_view())
    ),
    "list views": pa.ListViewArray.from_arrays([0] * 3000, [250] * 3000, pa.array(range(250))),
}


@pytest.mark.parametrize("what", SHARED)
def test_values_that_many_rows_share_are_decoded_by_as_many_rows_as_there_is_room_for(tmp_path, monkeypatch, what):
    monkeypatch.setattr(arrow_ipc, "MOST_RUN_BYTES", 10_000)
    batch = pa.record_batch({"s": SHARED[what], "x": range(3000)})
    write(tmp_path / "x.arrow", "file", [batch])
    batches = read_all(tmp_path / "x.arrow")
    assert [row for each in batches for row in each.to_pylist()] == batch.to_pylist()
    assert max(each.nbytes for each in batches) < 40_000


LISTS = {"type": "array", "items": "int"}


def avro_lists(*lengths):
    return b"".join(signed(length) + b"\2" * length + b"\0" if length else b"\0" for length in lengths)


@pytest.mark.parametrize("lengths", [(1000,), (2, 1000, 3), (3, 2, 1000)], ids=["one", "second", "third"])
def test_an_avro_record_whose_list_would_take_too_much_is_refused(tmp_path, monkeypatch, lengths):
    monkeypatch.setattr(avro, "MOST_OBJECT_BYTES", 10_000)
    path = write_avro(tmp_path / "x.avro", LISTS, len(lengths), avro_lists(*lengths))
    with pytest.raises(
        DataError, match=r"x\.avro, record 0: .*one record is longer than 250 bytes: the values of its lists"
    ):
        read_all(path)


def test_avro_records_that_take_too_much_only_together_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(avro, "MOST_OBJECT_BYTES", 10_000)
    lengths = [n % 200 for n in range(500)]
    path = write_avro(tmp_path / "x.avro", LISTS, 500, avro_lists(*lengths))
    assert rows_of(path) == [{"a": [1] * length} for length in lengths]
    damaged = path.read_bytes()[:-1] + b"S"
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="the mark behind a block is not the file's"):
        read_all(path)


def test_batches_of_avro_are_bounded_by_what_their_records_take(tmp_path, monkeypatch):
    monkeypatch.setattr(avro, "BATCH_BYTES", 100_000)
    rows = [{"a": [n] * (n % 50)} for n in range(3000)]
    with (tmp_path / "x.avro").open("wb") as file:
        fastavro.writer(file, record(LISTS), rows, sync_interval=5000)
    batches = read_all(tmp_path / "x.avro")
    assert [row for batch in batches for row in batch.to_pylist()] == rows
    assert 20 < len(batches) < 1000 and max(batch.num_rows for batch in batches) < 1000


def test_packed_blocks_of_avro_are_unpacked_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(avro, "BATCH_BYTES", 4 << 20)
    data = signed(1 << 20) + bytes(1 << 20)
    path = write_avro(tmp_path / "x.avro", "bytes", 1, packed := pa.compress(data, "zstd", asbytes=True), "zstandard")
    with path.open("ab") as file:
        file.write((signed(1) + signed(len(packed)) + packed + SYNC) * 199)
    assert path.stat().st_size < 1 << 16
    dataset = Dataset.open(path)
    tracemalloc.start()
    try:
        assert sum(batch.num_rows for batch in dataset.read_batches()) == 200
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
