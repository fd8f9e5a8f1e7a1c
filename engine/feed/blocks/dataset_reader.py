"""The blocks of a `Dataset`, read through its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.feed.blocks.plain_reader import PlainReader
from engine.feed.protocols import BlockData
from engine.formats.damage import DamageLog
from engine.formats.options import OnDamage, ReadOptions
from engine.formats.read import read_split

__all__ = ["DatasetReader", "with_wide_offsets"]

MOST_HELD_BYTES = 4 << 30  # of a block that is far larger in memory than in its file
_INFLATED = 4  # bytes that a byte of a gzip file stands for, about
_WHOLE = 1 << 30  # rows of a batch that no block reaches: a block comes back as one batch


class DatasetReader:
    """Reads blocks of a data set by number; safe to call from several threads.

    Args:
        dataset: opened data set.
    """

    def __init__(self, dataset: BlockData) -> None:
        self.schema: pa.Schema = dataset.schema
        self._manifest = dataset.manifest

    def read_block(self, block: int, columns: Sequence[str]) -> pa.RecordBatch:
        """Returns all records of a block.

        Raises:
            DataError: a damaged record, another number of records than the manifest says, or a block that takes far more memory than its
                file has bytes.
        """
        return self.joined(self._held(block, self.batches_of(block, _WHOLE, columns)), columns)

    def batches_of(self, block: int, batch_rows: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields the records of a block, at most `batch_rows` at once.

        Raises:
            DataError: a damaged record, or another number of records than the manifest says.
        """
        return read_split(self._manifest.block_split(block), self.schema, batch_rows, columns)

    def _held(self, block: int, batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """All batches of a block, which on the disk is of a size to be held whole."""
        held, size = [], 0
        for batch in batches:
            size += batch.nbytes
            if size > MOST_HELD_BYTES:
                path, first = self.place(block)
                raise DataError(
                    f"the row group or block that begins here takes more than {MOST_HELD_BYTES >> 20:,} MiB in memory, many times what it "
                    "takes in the file, and a feed holds it whole: `fullpass ingest` writes smaller ones",
                    path=path,
                    record=first,
                )
            held.append(batch)
        return held

    def joined(self, batches: list[pa.RecordBatch], columns: Sequence[str]) -> pa.RecordBatch:
        """Returns batches of these columns as one."""
        if len(batches) == 1:
            return batches[0]
        wanted = batches[0].schema if batches else pa.schema([self.schema.field(name) for name in columns])
        table = pa.Table.from_batches(batches, schema=wanted)
        joined = table.combine_chunks().to_batches()
        if len(joined) > 1:  # more than 2 GiB of bytes in a column: 32-bit offsets do not reach over them
            joined = table.cast(pa.schema([with_wide_offsets(field) for field in wanted])).combine_chunks().to_batches()
        return joined[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=wanted)

    def plain_reader(self, columns: Sequence[str]) -> PlainReader | None:
        """Returns what packs blocks of these columns at once, or None where they are no plain numbers."""
        return PlainReader.of(self._manifest, self.schema, columns)

    def record_bytes(self, columns: Sequence[str] | None) -> float:
        """Returns about what a record takes in memory, from what is known before reading.

        Columns of numbers have the size that their type says. Where texts or lists are among them it is at least what a
        record takes on disk, several times that in compressed TFRecord files.
        """
        sizes = [_fixed_bytes(field.type) for field in self.schema if columns is None or field.name in columns]
        known = float(sum(size or 0 for size in sizes))
        if None not in sizes:
            return known
        files = self._manifest.files
        stored = sum(file.size_bytes * (_INFLATED if file.compression else 1) for file in files)
        return max(known, stored / max(1, sum(file.records for file in files)))

    def place(self, block: int) -> tuple[str, int]:
        """Returns (file, index in it of the block's first record)."""
        split = self._manifest.block_split(block)
        return split.path, split.first_record or 0

    def read_block_skipping(self, block: int, columns: Sequence[str]) -> tuple[pa.RecordBatch, np.ndarray]:
        """Returns the readable records of a block and their rows in it, int64 [n], ascending.

        Where the faults do not say which records are lost, none of the block's count as readable.
        """
        split = self._manifest.block_split(block)
        options = ReadOptions(batch_rows=_WHOLE, on_damage=OnDamage.SKIP, skip_budget=1 << 62)
        damage = DamageLog(options)
        found = read_split(
            split, self.schema, _WHOLE, columns, damage=damage, on_damage=OnDamage.SKIP, skip_budget=1 << 62
        )
        batch = self.joined(list(found), columns)
        total = split.records or 0
        lost = {fault.record for fault in damage.faults}
        if None in lost or len(lost) + batch.num_rows != total:
            return batch.slice(0, 0), np.empty(0, np.int64)
        rows = np.setdiff1d(np.arange(total), np.array(sorted(lost), np.int64))  # type: ignore[type-var]
        return batch, rows


def _fixed_bytes(kind: pa.DataType) -> int | None:
    if pa.types.is_fixed_size_list(kind):
        inner = _fixed_bytes(kind.value_type)
        return None if inner is None else inner * kind.list_size
    if pa.types.is_floating(kind):
        return 4
    return 8 if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind) else None


def with_wide_offsets(field: pa.Field) -> pa.Field:
    """Returns the field with 64-bit offsets of bytes, text and lists at every depth, which reach beyond 2 GiB."""
    types, kind = pa.types, field.type
    if types.is_binary(kind):
        return field.with_type(pa.large_binary())
    if types.is_string(kind):
        return field.with_type(pa.large_string())
    if types.is_list(kind):
        return field.with_type(pa.large_list(with_wide_offsets(kind.value_field)))
    return field
