"""Reads the blocks of a data set for the feed, and keeps the account of damaged records."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from engine._native import RowPacker
from engine.core.errors import DataError
from engine.feed.config import FeedConfig
from engine.formats.options import OnDamage
from engine.schema.kinds import is_bytes, is_text
from engine.schema.lists import is_variable_list

__all__ = ["BlockReader", "BlockSource"]


class BlockReader(Protocol):
    """What the feed needs of a data set."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the records."""
        ...

    def read_block(self, block: int, columns: Sequence[str]) -> pa.RecordBatch:
        """Returns all records of a block; called from several threads."""
        ...


class BlockSource:
    """Reads blocks, checks their record counts, and skips damaged ones where that is wanted.

    Args:
        reader: the data set.
        columns: names to read.
        first_records: int64 [num_blocks + 1], prefix sums of the blocks' record counts.
        config: the policy for damage.
    """

    def __init__(
        self, reader: BlockReader, columns: Sequence[str], first_records: np.ndarray, config: FeedConfig
    ) -> None:
        self._reader, self._columns, self._first, self._config = reader, list(columns), first_records, config
        plain = getattr(reader, "plain_reader", None)
        self._plain = plain and plain(self._columns)
        self._skipped: set[int] = set()
        self._lock = threading.Lock()

    @property
    def skipped(self) -> list[int]:
        """Global ids of the damaged records seen so far, ascending."""
        with self._lock:
            return sorted(self._skipped)

    def remember(self, skipped: Sequence[int]) -> None:
        """Counts ids from a saved state as skipped already."""
        with self._lock:
            self._skipped.update(skipped)

    def pack(self, block: int, packer: RowPacker, outs: list[np.ndarray]) -> bool:
        """Packs a whole block where it holds but plain numbers.

        Args:
            block: its number.
            packer: of the columns.
            outs: the packed arrays, [records of the block, slots] each.

        Returns:
            Whether it is done; else `read` is to be asked, and what is in `outs` may not be used.
        """
        return self._plain is not None and self._plain.pack(block, packer, outs)

    def read(self, block: int, num_records: int) -> tuple[pa.RecordBatch, np.ndarray | None]:
        """Returns the block's records and which of them are damaged (bool [n], None for none of them).

        Raises:
            DataError: damage under OnDamage.RAISE or beyond the budget; or another number of records than planned.
        """
        try:
            batch = self._reader.read_block(block, self._columns)
        except DataError as error:
            if self._config.on_damage is OnDamage.RAISE:
                raise
            return self._skip(block, num_records, error)
        if batch.num_rows != num_records:
            raise DataError(
                f"block {block} holds {batch.num_rows} records where the manifest counts {num_records}: the data changed "
                "since the manifest was made; open the data set afresh"
            )
        return batch, None

    def located(self, block: int, fault: DataError) -> DataError:
        """Returns the fault with the file of its block, its record counted from the file's first instead of the block's."""
        place = getattr(self._reader, "place", None)
        if fault.path is not None or place is None:
            return fault
        path, first = place(block)
        return DataError(fault.message, path=path, record=None if fault.record is None else first + fault.record)

    def place_of(self, record_id: int) -> tuple[str, int] | None:
        """Returns (file, number of the record in it) of a global record id; None where the data set has no files."""
        place = getattr(self._reader, "place", None)
        if place is None:
            return None
        block = int(np.searchsorted(self._first, record_id, side="right")) - 1
        path, first = place(block)
        return path, first + record_id - int(self._first[block])

    def _skip(self, block: int, num_records: int, error: DataError) -> tuple[pa.RecordBatch, np.ndarray]:
        read = getattr(self._reader, "read_block_skipping", None)
        kept: np.ndarray = np.empty(0, np.int64)
        batch = None
        if read is not None:
            batch, kept = read(block, self._columns)
        damaged: np.ndarray = np.ones(num_records, bool)
        damaged[kept] = False
        self._count(block, damaged, error)
        schema = pa.schema([self._reader.schema.field(name) for name in self._columns])
        blank = pa.RecordBatch.from_arrays([_blank(field.type) for field in schema], schema=schema)
        if batch is None or batch.num_rows == 0:
            rows = pa.Table.from_batches([blank]).take(np.zeros(num_records, np.int64))
        else:
            where: np.ndarray = np.full(num_records, batch.num_rows, np.int64)
            where[kept] = np.arange(len(kept))
            both = pa.Table.from_batches([batch.cast(schema)]), pa.Table.from_batches([blank])
            rows = pa.concat_tables(both).take(where)
        return rows.combine_chunks().to_batches()[0], damaged

    def _count(self, block: int, damaged: np.ndarray, error: DataError) -> None:
        ids = (self._first[block] + np.flatnonzero(damaged)).tolist()
        with self._lock:
            self._skipped.update(ids)
            total = len(self._skipped)
        if total > self._config.skip_budget:
            raise DataError(
                f"{total} damaged records are more than skip_budget {self._config.skip_budget}; the last: {error.message}",
                path=error.path,
                record=error.record,
                offset_bytes=error.offset_bytes,
            ) from error


def _blank(kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.array([[_zero(kind.value_type)] * kind.list_size], kind)
    if is_variable_list(kind):
        return pa.array([[]], kind)
    if pa.types.is_dictionary(kind):
        return pa.array([_zero(kind.value_type)], kind.value_type).cast(kind)
    return (
        pa.array([_zero(kind)], pa.int64()).cast(kind) if pa.types.is_temporal(kind) else pa.array([_zero(kind)], kind)
    )


def _zero(kind: pa.DataType) -> object:
    if is_text(kind):
        return ""
    if is_bytes(kind):
        return bytes(kind.byte_width) if pa.types.is_fixed_size_binary(kind) else b""
    return False if pa.types.is_boolean(kind) else 0
