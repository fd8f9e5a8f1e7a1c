"""Records that lie behind many others are read once, kept, and written by all threads; what is kept is what was read."""

from __future__ import annotations

import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset, ingest
from engine.dataset.sharding import write_shards
from engine.dataset.sharding.source import Source, SourcePart
from engine.dataset.write import write_batches
from engine.formats.spool import Spool

ROWS = 40_000


@pytest.fixture
def one_row_group(tmp_path):
    table = pa.table({"x": list(range(ROWS)), "s": [f"s{i}" if i % 7 else None for i in range(ROWS)]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=ROWS)
    return tmp_path / "in.parquet", table


@pytest.fixture
def writers(monkeypatch):
    """The threads that write a shard; four processors, however many there are."""
    names = set()
    write = write_shards.write_batches
    together = threading.Barrier(4, timeout=300)

    def noting(batches, *args):
        names.add(threading.current_thread().name)
        together.wait()  # ends only where four shards are written at the same time
        return write(batches, *args)

    monkeypatch.setattr(write_shards, "write_batches", noting)
    monkeypatch.setattr(write_shards, "processors", lambda: 4)
    return names


def read(out):
    return pa.Table.from_batches(Dataset.open(out).read_batches())


@pytest.mark.parametrize("memory_bytes", [64 << 20, 0])
def test_one_row_group_is_written_by_all_threads(one_row_group, tmp_path, writers, monkeypatch, memory_bytes):
    path, table = one_row_group
    monkeypatch.setattr("engine.formats.spool.MEMORY_BYTES", memory_bytes)
    assert ingest(path, tmp_path / "out", num_shards=8).num_records == ROWS
    assert len(writers) == 4 and all(name.startswith("fullpass-shards") for name in writers)
    found = read(tmp_path / "out")
    assert found.cast(table.schema).equals(table)
    assert [entry.records for entry in Dataset.open(tmp_path / "out").manifest.files] == [ROWS // 8] * 8


def test_packed_tfrecord_and_parts(one_row_group, tmp_path, writers):
    _, table = one_row_group
    write_batches(table.to_batches(), table.schema, str(tmp_path / "packed"), format="tfrecord", compression="gzip")
    ingest(tmp_path / "packed", tmp_path / "out", num_shards=4, fractions={"train": 0.5, "eval": 0.5}, seed=3)
    assert len(writers) == 4
    parts = [read(tmp_path / "out" / name)["x"].to_pylist() for name in ("train", "eval")]
    assert all(part == sorted(part) for part in parts) and sorted(parts[0] + parts[1]) == list(range(ROWS))


def test_without_room_one_thread_writes_all(one_row_group, tmp_path, monkeypatch):
    path, table = one_row_group
    monkeypatch.setattr(write_shards, "processors", lambda: 4)
    monkeypatch.setattr(Spool, "add", lambda self, batch: None)
    ingest(path, tmp_path / "out", num_shards=8)
    assert read(tmp_path / "out").cast(table.schema).equals(table)


@pytest.mark.parametrize("room", [True, False])
def test_parts_that_several_shards_share_are_read_once_where_there_is_room(tmp_path, monkeypatch, room):
    monkeypatch.setattr(write_shards, "processors", lambda: 4)
    batches = [pa.record_batch([list(range(first, first + 160))], names=["x"]) for first in range(0, 800, 160)]
    begun = []

    def read_part(number):
        begun.append(number)
        yield batches[number]

    parts = [SourcePart(path="in", records=160, read=lambda number=n: read_part(number)) for n in range(5)]
    source = Source(batches[0].schema, 800, ["in"], lambda rows: iter(batches), parts=parts)
    if not room:
        monkeypatch.setattr(Spool, "add", lambda self, batch: None)
    ingest(source, tmp_path / "out", num_shards=8)
    assert read(tmp_path / "out")["x"].to_pylist() == list(range(800))
    assert sorted(begun) == list(range(5)) if room else len(begun) > 8, (
        "eight shards have their records in twelve parts"
    )


def test_damage_names_the_file(one_row_group, tmp_path, monkeypatch):
    path, _ = one_row_group
    monkeypatch.setattr(write_shards, "processors", lambda: 4)
    data = bytearray(path.read_bytes())
    data[2000] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"in\.parquet"):
        ingest(path, tmp_path / "out", num_shards=8)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("now", [8, 12])
def test_a_source_that_changed_since_it_was_counted_is_refused(tmp_path, monkeypatch, now):
    monkeypatch.setattr(write_shards, "processors", lambda: 4)
    batch = pa.record_batch([list(range(now))], names=["x"])
    part = SourcePart(path="in.csv", records=10, read=lambda: iter([batch]))
    source = Source(batch.schema, 10, ["in.csv"], lambda rows: iter([batch]), parts=[part])
    with pytest.raises(DataError, match=f"in.csv: gave {now} records in this pass and 10 before"):
        ingest(source, tmp_path / "out", num_shards=8)
    assert not (tmp_path / "out").exists()
