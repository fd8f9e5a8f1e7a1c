"""Blocks of plain numbers, read and packed natively: the same bits and the same faults as the way that takes everything."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import DataError, Dataset, write_batches
from engine.feed.blocks.plain_reader import PlainReader
from engine.feed.columns import make_layout
from engine.feed.pack import RowPacker

ROWS = 2000
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), False),
        pa.field("score", pa.float32(), False),
        pa.field("pair", pa.list_(pa.float32(), 2), False),
        pa.field("count", pa.int64(), False),
    ]
)


def table():
    rng = np.random.default_rng(1)
    pairs = rng.normal(size=(ROWS, 2)).astype(np.float32)
    columns = [
        pa.array(np.arange(ROWS)),
        pa.array(rng.normal(size=ROWS).astype(np.float32)),
        pa.FixedSizeListArray.from_arrays(pa.array(pairs.ravel()), 2),
        pa.array(rng.integers(-(1 << 62), 1 << 62, ROWS)),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def written(folder, change=lambda number, part: part):
    """Five Parquet files of unequal size and row groups of 37 rows, each changed as asked."""
    for number, (start, stop) in enumerate(itertools.pairwise([0, 130, 150, 900, 1407, ROWS])):
        part = change(number, table().slice(start, stop - start))
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=37)
    return folder


@pytest.fixture
def packed_at_once(monkeypatch):
    """Counts the blocks that were packed natively, and those that were not."""
    counts, pack = {True: 0, False: 0}, PlainReader.pack

    def counted(self, *arguments):
        done = pack(self, *arguments)
        counts[done] += 1
        return done

    monkeypatch.setattr(PlainReader, "pack", counted)
    return counts


def batches(dataset, **options):
    settings = {"global_batch_size": 64, "seed": 4, "num_epochs": 2, "with_record_ids": True, **options}
    return list(dataset.feed(**settings))


def same_without(monkeypatch, dataset, got, **options):
    with monkeypatch.context() as patch:
        patch.setattr(PlainReader, "pack", lambda self, *arguments: False)
        expected = batches(dataset, **options)
    assert len(got) == len(expected) > 0
    for one, other in zip(got, expected):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], key)


def tfrecord(folder):
    Dataset.open(str(written(folder))).write(folder / "out", "tfrecord", num_shards=3)
    return Dataset.open(str(folder / "out"))


@pytest.mark.parametrize("options", [{}, {"shuffle": False, "remainder": "pad"}, {"columns": ["count", "id", "score"]}])
@pytest.mark.parametrize(
    "make", [lambda folder: Dataset.open(str(written(folder))), tfrecord], ids=["parquet", "tfrecord"]
)
def test_blocks_of_numbers_have_the_bits_of_the_general_way(make, options, tmp_path, packed_at_once, monkeypatch):
    from engine import Remainder

    dataset = make(tmp_path)
    if "remainder" in options:
        options = {**options, "remainder": Remainder.PAD}
    got = batches(dataset, **options)
    assert packed_at_once[True] > 10 or dataset.manifest.files[0].format == "tfrecord"
    assert packed_at_once[True] >= 3 and packed_at_once[False] == 0
    same_without(monkeypatch, dataset, got, **options)


def test_columns_in_another_order_in_some_files(tmp_path, packed_at_once, monkeypatch):
    order = ["pair", "count", "score", "id"]
    dataset = Dataset.open(str(written(tmp_path, lambda number, part: part.select(order) if number % 2 else part)))
    got = batches(dataset)
    assert packed_at_once[False] == 0
    same_without(monkeypatch, dataset, got)


def narrower(number, part):
    """The third file has another type of integer, which the data set's int64 holds."""
    field = pa.field("id", pa.int32(), False)
    return part.set_column(0, field, part["id"].cast(pa.int32())) if number == 2 else part


def with_gaps(number, part):
    """Every other file lacks some values."""
    values = [None if number % 2 and i % 5 == 0 else v for i, v in enumerate(part["count"].to_pylist())]
    return part.set_column(3, pa.field("count", pa.int64()), pa.array(values, pa.int64()))


@pytest.mark.parametrize(("change", "options"), [(narrower, {}), (with_gaps, {"fill": {"count": 7}})])
def test_blocks_of_anything_else_go_the_general_way(change, options, tmp_path, packed_at_once, monkeypatch):
    dataset = Dataset.open(str(written(tmp_path, change)))
    got = batches(dataset, **options)
    assert packed_at_once[False] > 0
    same_without(monkeypatch, dataset, got, **options)


def test_a_type_that_the_schema_narrows_is_still_refused(tmp_path):
    written(tmp_path)
    schema = SCHEMA.set(3, pa.field("count", pa.int32(), False))
    with pytest.raises(DataError, match=r"'count'.*int32"):
        batches(Dataset.open(str(tmp_path / "*.parquet"), feature_spec=schema))


def test_column_of_a_directory_beside_columns_of_numbers(tmp_path, packed_at_once, monkeypatch):
    for key in (3, 5):
        (tmp_path / f"key={key}").mkdir()
        written(tmp_path / f"key={key}")
    dataset = Dataset.open(str(tmp_path))
    got = batches(dataset, columns=["id", "score", "key"], fill={"key": 0})
    assert {int(v) for batch in got for v in batch["int64"][:, 1]} == {3, 5}
    same_without(monkeypatch, dataset, got, columns=["id", "score", "key"], fill={"key": 0})


@pytest.mark.parametrize("gap", ["", "/sub"])
@pytest.mark.parametrize("format", ["parquet", "tfrecord"])
def test_a_column_of_the_file_is_held_to_its_directory(format, gap, tmp_path, packed_at_once):
    path = tmp_path / f"id=3{gap}" / f"a.{format}"
    part = table().slice(3, 2)
    write_batches(part.to_batches(), SCHEMA, str(path), format)
    with pytest.raises(DataError, match="column 'id' is 4 in the file, and its directory says id=3") as fault:
        batches(Dataset.open(str(tmp_path)), global_batch_size=1)
    assert (fault.value.path, fault.value.record, packed_at_once[True]) == (str(path), 1, 0)


@pytest.mark.parametrize("name", ["parquet", "tfrecord"])
def test_damage_is_skipped_and_named_as_before(name, tmp_path, packed_at_once, monkeypatch):
    dataset = tfrecord(tmp_path) if name == "tfrecord" else Dataset.open(str(written(tmp_path)))
    path = dataset.paths[-1]
    data = bytearray(Path(path).read_bytes())
    place = len(data) // 3
    data[place : place + 4] = bytes(255 - b for b in data[place : place + 4])
    Path(path).write_bytes(data)
    with pytest.raises(DataError) as fault:
        batches(dataset)
    assert fault.value.path == path
    got = batches(dataset, on_damage="skip")
    assert packed_at_once[True] and packed_at_once[False]
    same_without(monkeypatch, dataset, got, on_damage="skip")


def test_a_file_that_was_replaced_by_another_is_refused(tmp_path):
    dataset = Dataset.open(str(written(tmp_path)))
    feed = dataset.feed(global_batch_size=64)
    pq.write_table(table().slice(0, 100), tmp_path / "part-2.parquet", row_group_size=10)
    with pytest.raises(DataError, match=r"part-2\.parquet"):
        list(itertools.islice(feed, 30))


@pytest.mark.parametrize(
    ("columns", "rows", "whole"),
    [
        (lambda part: part, 50, True),
        (lambda part: part.select(["count", "pair", "id", "score"]), 50, True),
        (lambda part: part, 49, False),
        (lambda part: part, 51, False),
        (lambda part: part.drop_columns(["score"]), 50, False),
        (lambda part: part.set_column(0, "id", pa.array([None] * 50, pa.int64())), 50, False),
        (lambda part: part.set_column(0, "id", part["id"].cast(pa.uint64())), 50, False),
        (lambda part: part.set_column(1, "score", part["score"].cast(pa.float64())), 50, False),
    ],
)
def test_stream_of_several_batches(columns, rows, whole):
    part = table().slice(3, 50)
    parts = pa.concat_tables([columns(part).slice(0, 20), columns(part).slice(20, 0), columns(part).slice(20)])
    layout = make_layout(SCHEMA, None, None)
    outs = [np.zeros((rows, 3), np.float32), np.zeros((rows, 2), np.int64)]
    assert RowPacker(layout).native.pack_stream(parts.__arrow_c_stream__(), outs, rows) == whole
    if whole:
        np.testing.assert_array_equal(outs[1][:, 0], part["id"].to_numpy())
        np.testing.assert_array_equal(outs[0][:, 0], part["score"].to_numpy())
        np.testing.assert_array_equal(outs[0][:, 1:], np.stack(part["pair"].to_pylist()))
