"""Parquet and TFRecord as a source, in parts of whole blocks that all cores can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from engine.dataset.file_entry import FileEntry
from engine.dataset.sharding.source import Source, SourcePart
from engine.formats.block import Block
from engine.formats.read import read_split
from engine.formats.split import Split

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["dataset_source"]

_PART_ROWS = 65536
_PART_BATCHES = 4  # of wide rows, so that shards can be written side by side and none reads much of its neighbour's
_BATCH_BYTES = 16 << 20
_UNPACKED = 4  # times that data may grow in memory, guessed: what it is off by, a batch is off by


def dataset_source(dataset: Dataset) -> Source:
    """Returns the source of an `engine.Dataset`. Files that no manifest covers are scanned for their blocks."""
    schema, num_records = dataset.schema, dataset.num_records
    entries = [dataset.known_entries[path] for path in dataset.paths]
    rows = _batch_rows(entries)
    parts = [part for entry in entries for part in _parts(entry, schema, rows)]

    def read(batch_rows: int) -> Iterator[pa.RecordBatch]:
        yield from dataset.read_batches(min(batch_rows, rows))

    return Source(schema, num_records, dataset.paths, read, parts=parts)


def _batch_rows(entries: list[FileEntry]) -> int:
    records = sum(entry.records for entry in entries)
    size_bytes = sum(entry.size_bytes for entry in entries) * _UNPACKED
    return max(1, min(_PART_ROWS, _BATCH_BYTES * records // max(size_bytes, 1)))


def _parts(entry: FileEntry, schema: pa.Schema, batch_rows: int) -> Iterator[SourcePart]:
    if entry.compression is not None:
        yield _part(entry, entry.whole(), schema, batch_rows)
        return
    run: list[Block] = []
    first = 0
    for block in entry.blocks:
        if run and sum(each.records for each in run) + block.records > min(_PART_ROWS, _PART_BATCHES * batch_rows):
            yield _part(entry, _run_split(entry, run, first), schema, batch_rows)
            first += sum(each.records for each in run)
            run = []
        run.append(block)
    if run:
        yield _part(entry, _run_split(entry, run, first), schema, batch_rows)


def _run_split(entry: FileEntry, run: list[Block], first_record: int) -> Split:
    return Split(
        path=entry.path,
        format=entry.format,
        start=run[0].offset,
        stop=run[-1].offset + run[-1].length,
        records=sum(block.records for block in run),
        first_record=first_record,
        levels=entry.levels,
    )


def _part(entry: FileEntry, split: Split, schema: pa.Schema, batch_rows: int) -> SourcePart:
    assert split.records is not None

    def read(threads: int = 1) -> Iterator[pa.RecordBatch]:
        return read_split(split, schema, batch_rows, threads=threads)

    return SourcePart(path=entry.path, records=split.records, read=read, read_by=read)
