"""Reading one split: what a worker of Beam, Ray or the feed calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import DataError
from engine.formats.damage import DamageLog
from engine.formats.options import ReadOptions
from engine.formats.partitions import add_partitions, partition_keys, stored_columns
from engine.formats.registry import format_module
from engine.formats.split import Split
from engine.formats.stored_keys import refuse_contradicted

__all__ = ["read_split"]


def read_split(
    split: Split,
    schema: pa.Schema,
    batch_rows: int = 65536,
    columns: Sequence[str] | None = None,
    *,
    damage: DamageLog | None = None,
    **options: Any,
) -> Iterator[pa.RecordBatch]:
    """Yields the records of a split, in order, in batches of `batch_rows`.

    Where the split says how many records it has, the count is reconciled at its end.

    Args:
        split: what to read.
        schema: of the data set; every batch has exactly its columns (those chosen) and types.
        batch_rows: rows of each batch but the last; see `ReadOptions`.
        columns: names to read, in the order wanted; None for all.
        damage: where to note skipped records; None makes one for this split.
        **options: the rest of `engine.formats.options.ReadOptions`.

    Raises:
        DataError: a damaged record, a column that is not what the file's directory says, or a count that is not the split's.
    """
    chosen = ReadOptions(batch_rows=batch_rows, columns=tuple(columns) if columns is not None else None, **options)
    damage = damage if damage is not None else DamageLog(chosen)
    before, rows = damage.records, 0
    own, names = stored_columns(schema, chosen)
    stored = chosen if names == chosen.columns else dataclasses.replace(chosen, columns=names)
    keys = partition_keys(split.path, split.levels)
    first = 0 if not split.start else split.first_record
    for batch in format_module(split.format).read(split, own, stored, damage):
        if keys:
            row = None if first is None or damage.records > before else first + rows
            refuse_contradicted(batch, keys, split.path, row)
        rows += batch.num_rows
        yield add_partitions(batch, schema, chosen, split.path, split.levels)
    skipped = damage.records - before
    if split.records is not None and rows + skipped != split.records:
        raise DataError(
            f"gave {rows} records"
            + (f" and {skipped} damaged ones" if skipped else "")
            + f", its manifest says {split.records}: the file was cut, or changed after the manifest was written",
            path=split.path,
            record=rows,
        )
