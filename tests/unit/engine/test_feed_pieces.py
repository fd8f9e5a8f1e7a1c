"""Row groups and packed files that are larger than memory is to hold: fed in pieces, each record once, in an order of its own."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from engine import ConfigError, DataError, Dataset, write_batches
from engine.feed import OnDamage, mix
from engine.feed.blocks import dataset_reader, pieces
from engine.formats.spool import Spool

ROWS = 3000
TABLE = pa.table(
    {
        "x": pa.array(range(ROWS), pa.int64()),
        "s": [f"s{number}" * (number % 5) for number in range(ROWS)],
        "l": [list(range(number % 4)) for number in range(ROWS)],
    }
)


@pytest.fixture
def small(monkeypatch):
    """Blocks of more than 4,000 bytes are large; of those, pieces have 1,000."""
    monkeypatch.setattr(pieces, "MOST_BLOCK_BYTES", 4000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)


def written(directory, format):
    path = str(directory / f"a.{format}")
    if format == "parquet":
        pq.write_table(TABLE, path, row_group_size=ROWS)
    elif format == "orc":
        pyarrow.orc.write_table(TABLE, path)
    elif format == "jsonl":
        with gzip.open(path, "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in TABLE.to_pylist())
    elif format == "arrow":
        with pa.ipc.new_stream(path, TABLE.schema) as stream:
            stream.write_table(TABLE, max_chunksize=700)
    else:
        write_batches(TABLE.to_batches(), TABLE.schema, path, "tfrecord", "gzip")
    return Dataset.open(path)


def rows_of(feed):
    """{x: (s, values of l)} of all batches, in order, with the record ids."""
    found = []
    for packed in feed:
        batch = feed.unpack_numpy(packed)
        values, splits = batch["l"]
        lists = [values[start:stop].tolist() for start, stop in itertools.pairwise(splits)]
        found += zip(batch["record_ids"].tolist(), batch["x"].tolist(), (s.decode() for s in batch["s"]), lists)
    return found


def blocks_of(monkeypatch, method):
    """The blocks that a method of the reader is asked for from now on."""
    call, blocks = getattr(pieces.DatasetReader, method), []

    def noted(self, block, *rest):
        blocks.append(block)
        return call(self, block, *rest)

    monkeypatch.setattr(pieces.DatasetReader, method, noted)
    return blocks


OPTIONS = {"global_batch_size": 50, "num_epochs": 1, "with_record_ids": True, "seed": 3}
EXPECTED = list(zip(range(ROWS), range(ROWS), TABLE["s"].to_pylist(), TABLE["l"].to_pylist()))


@pytest.mark.parametrize("format", ["parquet", "arrow", "tfrecord", "orc", "jsonl"])
@pytest.mark.parametrize("room", [True, False])
def test_each_record_comes_once_whatever_holds_it(tmp_path, small, monkeypatch, caplog, format, room):
    dataset = written(tmp_path, format)
    assert len(dataset.manifest.block_records()) == 1
    if not room:
        monkeypatch.setattr(Spool, "add", lambda self, batch: None)
    feed = dataset.feed(**OPTIONS, window_records=500, threads=3)
    assert feed.plan.num_blocks > 10 and feed.plan.num_records == ROWS
    with caplog.at_level(logging.WARNING):
        shuffled = rows_of(feed)
    assert sorted(shuffled) == EXPECTED and shuffled != EXPECTED
    assert shuffled == rows_of(dataset.feed(**OPTIONS, window_records=500, threads=1))
    assert rows_of(dataset.feed(**OPTIONS, shuffle=False)) == EXPECTED
    assert any("name a larger disk by TMPDIR" in record.message for record in caplog.records) is not room


def test_a_block_is_decoded_once_for_all_its_pieces_and_epochs(tmp_path, small, monkeypatch):
    dataset = written(tmp_path, "parquet")
    begun = blocks_of(monkeypatch, "batches_of")
    assert len(rows_of(dataset.feed(**{**OPTIONS, "num_epochs": 3}, window_records=500, threads=4))) == 3 * ROWS
    assert begun == [0]


def test_a_feed_goes_on_where_it_was_and_not_from_one_of_whole_blocks(tmp_path, monkeypatch):
    dataset = written(tmp_path, "parquet")
    whole = dataset.feed(**OPTIONS)
    state = whole.get_state(5)
    monkeypatch.setattr(pieces, "MOST_BLOCK_BYTES", 4000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    feed = dataset.feed(**OPTIONS, window_records=500)
    again = dataset.feed(**OPTIONS, window_records=500)
    again.set_state(feed.get_state(7))
    assert rows_of(again) == rows_of(feed)[350:]
    with pytest.raises(
        ConfigError, match="the saved feed state does not fit: it is of the same data, and their large blocks"
    ):
        dataset.feed(**OPTIONS).set_state(state)


def test_large_and_small_blocks_and_mixtures(tmp_path, small):
    schema = TABLE.schema
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for start, stop in ((0, 10), (10, 2000), (2000, 2005), (2005, ROWS)):
            writer.write_table(TABLE.slice(start, stop - start))
    dataset = Dataset.open(tmp_path / "a.parquet")
    feed = dataset.feed(**OPTIONS)
    assert sorted(rows_of(feed)) == EXPECTED
    assert [feed.source.place_of(number)[1] for number in (0, 9, 10, 1999, 2004, ROWS - 1)] == [
        *(0, 9, 10, 1999, 2004),
        ROWS - 1,
    ]
    both = mix([dataset, dataset], [1, 1], global_batch_size=50, columns=["x"])
    drawn = [x for _, batch in zip(range(2 * ROWS // 50), both) for x in both.unpack_numpy(batch)["x"].tolist()]
    assert sorted(drawn) == sorted([*range(ROWS), *range(ROWS)])


def test_damage_in_a_large_block_is_named_or_skipped(tmp_path, small):
    path = tmp_path / "a.parquet"
    pq.write_table(
        TABLE.select(["x"]),
        path,
        row_group_size=1500,
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    chunk = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 8] ^= 1
    path.write_bytes(data)
    dataset = Dataset.open(path)
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        list(dataset.feed(**OPTIONS))
    assert caught.value.path == str(path)
    feed = dataset.feed(**OPTIONS, on_damage=OnDamage.SKIP, skip_budget=ROWS)
    kept = [x for batch in feed for x in feed.unpack_numpy(batch)["x"][batch["mask"]].tolist()]
    assert sorted(kept) == list(range(1500)) and feed.skipped == list(range(1500, ROWS))


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.parametrize("lost", [0, ROWS - 1])
def test_a_damaged_block_is_read_once_and_what_is_of_no_use_is_not_kept(tmp_path, small, monkeypatch, lost, room):
    path = tmp_path / "a.tfrecord"
    write_batches(TABLE.to_batches(), TABLE.schema, str(path), "tfrecord", "gzip")
    schema = Dataset.open(path).schema
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[-5 if lost else 12] ^= 1
    path.write_bytes(gzip.compress(bytes(data)))
    dataset = Dataset.open(path, schema)
    spools, refused, init = [], [], Spool.__init__
    begun, skipping = blocks_of(monkeypatch, "batches_of"), blocks_of(monkeypatch, "read_block_skipping")
    monkeypatch.setattr(Spool, "__init__", lambda self, **options: (init(self, **options), spools.append(self))[0])
    if not room:
        monkeypatch.setattr(Spool, "add", lambda self, batch: refused.append(batch))
    feed = dataset.feed(**OPTIONS, window_records=500, threads=3, on_damage=OnDamage.SKIP, skip_budget=1)
    assert feed.plan.num_blocks > 10
    found = [x for batch in feed for x in feed.unpack_numpy(batch)["x"][batch["mask"]].tolist()]
    assert sorted(found) == sorted({*range(ROWS)} - {lost}) and feed.skipped == [lost]
    assert len(refused) == (not room), "where there was no room once, nothing is written again"
    if room:
        assert begun == skipping == [0]
        (spool,) = (each for each in spools if each._file is not None)
        assert len([kept for kept in spool._batches if kept is not None]) == 2 * feed.plan.num_blocks


def test_a_process_that_is_forked_keeps_pieces_of_its_own(tmp_path, small, monkeypatch):
    feed = written(tmp_path, "parquet").feed(**OPTIONS, window_records=500, threads=1)
    assert sorted(rows_of(feed)) == EXPECTED
    spool = feed.source._reader._here().spool
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert sorted(rows_of(feed)) == EXPECTED
    assert feed.source._reader._here().spool is not spool


def test_a_row_group_of_images_is_never_held_whole(tmp_path):
    rng = np.random.default_rng(0)
    images = pa.table({"image": pa.array([rng.bytes(100_000) for _ in range(1792)], pa.binary())})
    pq.write_table(images, tmp_path / "x.parquet", row_group_size=1792, compression="none", use_dictionary=False)
    program = """
        import sys
        import pyarrow
        from engine import Dataset
        from engine.feed.blocks import dataset_reader, pieces
        pieces.MOST_BLOCK_BYTES, pieces.PIECE_BYTES = 16 << 20, 2 << 20
        add, added, held = pieces.Spool.add, [], []
        def noted(self, batch):
            number = add(self, batch)
            added.append(number)
            held.append(pyarrow.total_allocated_bytes())
            return number
        pieces.Spool.add = noted
        count = 0
        for batch in Dataset.open(sys.argv[1]).feed(global_batch_size=16, num_epochs=1, threads=2, window_bytes=8 << 20):
            count += len(batch["bytes"])
        print(count, len(added), added.count(None), max(held) >> 20)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "x.parquet")]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    count, pieces_kept, refused, held_mib = map(int, out.split())
    assert (count, refused) == (1792, 0) and pieces_kept > 20
    assert held_mib < 130, "the row group has 171 MiB"


def test_a_block_that_is_far_larger_in_memory_than_its_file_says_is_refused(tmp_path, monkeypatch):
    """Four kilobytes of Parquet took eight gigabytes; batches of it are read all the same."""
    monkeypatch.setattr(dataset_reader, "MOST_HELD_BYTES", 1 << 20)
    table = pa.table({"s": pa.array(["x" * 1000] * 2000).dictionary_encode(), "k": [1] * 2000})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 5000
    dataset = Dataset.open(tmp_path / "a.parquet")
    assert sum(batch.num_rows for batch in dataset.read_batches()) == 2000
    with pytest.raises(
        DataError, match="takes more than 1 MiB in memory, many times what it takes in the file"
    ) as caught:
        next(iter(dataset.feed(global_batch_size=100, seed=1)))
    assert caught.value.record == 0
    assert next(iter(dataset.feed(global_batch_size=100, seed=1, columns=["k"])))
