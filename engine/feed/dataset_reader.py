"""The blocks of a `Dataset`, read through its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from engine.formats.damage import DamageLog
from engine.formats.options import OnDamage, ReadOptions
from engine.formats.read import read_split

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["DatasetReader"]

_WHOLE = 1 << 30  # rows of a batch that no block reaches: a block comes back as one batch


class DatasetReader:
    """Reads blocks of a data set by number; safe to call from several threads.

    Args:
        dataset: opened data set.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.schema: pa.Schema = dataset.schema
        self._manifest = dataset.manifest

    def read_block(self, block: int, columns: Sequence[str]) -> pa.RecordBatch:
        """Returns all records of a block.

        Raises:
            DataError: a damaged record, or another number of records than the manifest says.
        """
        split = self._manifest.block_split(block)
        return _joined(list(read_split(split, self.schema, _WHOLE, columns)), self.schema, columns)

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
        batches = list(
            read_split(split, self.schema, _WHOLE, columns, damage=damage, on_damage=OnDamage.SKIP, skip_budget=1 << 62)
        )
        batch = _joined(batches, self.schema, columns)
        total = split.records or 0
        lost = {fault.record for fault in damage.faults}
        if None in lost or len(lost) + batch.num_rows != total:
            return batch.slice(0, 0), np.empty(0, np.int64)
        rows = np.setdiff1d(np.arange(total), np.array(sorted(lost), np.int64))  # type: ignore[type-var]
        return batch, rows


def _joined(batches: list[pa.RecordBatch], schema: pa.Schema, columns: Sequence[str]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    wanted = batches[0].schema if batches else pa.schema([schema.field(name) for name in columns])
    table = pa.Table.from_batches(batches, schema=wanted)
    joined = table.combine_chunks().to_batches()
    if len(joined) > 1:  # more than 2 GiB of bytes in a column: 32-bit offsets do not reach over them
        joined = table.cast(pa.schema([_wide(field) for field in wanted])).combine_chunks().to_batches()
    return joined[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=wanted)


def _wide(field: pa.Field) -> pa.Field:
    types, kind = pa.types, field.type
    if types.is_binary(kind):
        return field.with_type(pa.large_binary())
    if types.is_string(kind):
        return field.with_type(pa.large_string())
    if types.is_list(kind):
        return field.with_type(pa.large_list(_wide(kind.value_field)))
    return field
