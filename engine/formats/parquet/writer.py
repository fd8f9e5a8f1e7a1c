"""Writes Parquet: row groups of as many rows as the feed shuffles best with, fewer where rows are wide."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.core.errors import ConfigError
from engine.formats.block import Block
from engine.formats.partitions import without_marks
from engine.schema.conform import conform

__all__ = ["COMPRESSIONS", "ROW_GROUP_BYTES", "ROW_GROUP_ROWS", "Writer"]

COMPRESSIONS = (None, "gzip", "zstd", "snappy")
ROW_GROUP_ROWS = 16384  # what the feed shuffles best with; larger groups only help scans that skip whole groups
ROW_GROUP_BYTES = 64 << 20  # in memory: a reader holds a group at a time, the feed a window of them


class Writer:
    """Writes batches of one schema to an open file as Parquet."""

    def __init__(
        self,
        file: Any,
        schema: pa.Schema,
        compression: str | None,
        row_group_rows: int = ROW_GROUP_ROWS,
        row_group_bytes: int = ROW_GROUP_BYTES,
    ) -> None:
        if compression not in COMPRESSIONS:
            raise ConfigError(f"compression is {compression!r}; Parquet takes {', '.join(map(repr, COMPRESSIONS))}")
        schema = _writable(without_marks(schema))
        self._sink = _sink_of(file)
        try:
            self._writer = pq.ParquetWriter(
                self._sink, schema, compression=compression or "none", write_page_checksum=True
            )
        except pa.ArrowNotImplementedError as error:
            raise _not_written(schema, error) from error
        self._schema, self._group_rows, self._group_bytes = schema, row_group_rows, row_group_bytes
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self.records = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds the batch's rows.

        Raises:
            ConfigError: rows without a column.
        """
        self.records += batch.num_rows
        if batch.num_rows and not self._schema.names:  # pyarrow would write no row, and say nothing
            raise ConfigError(
                "the records have no column, and Parquet counts rows by their values: take format 'tfrecord', or leave them out"
            )
        batch = conform(batch, self._schema, None, self.records - batch.num_rows)
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        rows = self._rows_of_a_group()
        if self._pending_rows >= rows:
            table = pa.Table.from_batches(self._pending, self._schema)
            whole = self._pending_rows // rows * rows
            self._write(table.slice(0, whole), rows)
            self._pending = table.slice(whole).to_batches()
            self._pending_rows -= whole
            self._pending_bytes = sum(batch.nbytes for batch in self._pending)

    def _write(self, table: pa.Table, group_rows: int) -> None:
        try:
            self._writer.write_table(table, row_group_size=group_rows)
        except pa.ArrowNotImplementedError as error:  # of values: a dictionary within a struct that holds a null
            raise ConfigError(f"Parquet cannot hold these records: {error}") from error

    def _rows_of_a_group(self) -> int:
        """Rows that a group takes: fewer where they are wide, since a reader holds a group at a time."""
        width = self._pending_bytes / max(self._pending_rows, 1)
        return max(min(self._group_rows, int(self._group_bytes / max(width, 1))), 1)

    def close(self) -> tuple[Block, ...]:
        """Writes what is pending and the footer; returns no blocks: they are in the footer."""
        if self._pending_rows:
            self._write(pa.Table.from_batches(self._pending, self._schema), self._rows_of_a_group())
            self._pending, self._pending_rows = [], 0
        self._writer.close()
        if isinstance(self._sink, pa.OSFile):
            self._sink.close()
        return ()

    def abandon(self) -> None:
        """Lets go of a file that nobody will keep. Closed while the file still takes bytes, and marked so: a writer that
        the garbage collector finds open raises in a finalizer, at any moment of a program that has gone on."""
        with contextlib.suppress(Exception):
            self._writer.close()
        self._writer.is_open = False
        if isinstance(self._sink, pa.OSFile):
            with contextlib.suppress(Exception):
                self._sink.close()


def _sink_of(file: Any) -> Any:
    """Arrow's own file in the place of a local one that nothing was written to yet: every page would be copied for Python's, and
    under the interpreter's lock, which is what many threads that write shards wait for."""
    local = isinstance(file, io.BufferedWriter) and isinstance(file.name, str | os.PathLike)
    return pa.OSFile(os.fspath(file.name), "w") if local else file


def _not_written(schema: pa.Schema, error: Exception) -> ConfigError:
    for field in schema:
        try:
            pq.ParquetWriter(io.BytesIO(), pa.schema([field])).close()
        except pa.ArrowNotImplementedError:
            return ConfigError(
                f"column {field.name!r} has type {field.type}, which Parquet cannot hold: leave it out, or turn it into columns of "
                "numbers or text"
            )
    return ConfigError(f"Parquet cannot hold this schema: {error}")


def _writable(schema: pa.Schema) -> pa.Schema:
    """A fixed-size list with missing values, or of none, as a plain one: pyarrow writes what its own reader then refuses.

    https://github.com/apache/arrow/issues/35692. Parquet has no bytes of the fixed size 0 either.
    """
    return pa.schema([_writable_field(field) for field in schema], metadata=schema.metadata)


def _writable_field(field: pa.Field) -> pa.Field:
    types, kind = pa.types, field.type
    if types.is_fixed_size_list(kind):
        item = _writable_field(kind.value_field)
        loose = field.nullable or not kind.list_size
        return field.with_type(pa.list_(item) if loose else pa.list_(item, kind.list_size))
    if types.is_list(kind):
        return field.with_type(pa.list_(_writable_field(kind.value_field)))
    if types.is_large_list(kind):
        return field.with_type(pa.large_list(_writable_field(kind.value_field)))
    if types.is_struct(kind):
        return field.with_type(pa.struct([_writable_field(inner) for inner in kind]))
    if types.is_map(kind):
        return field.with_type(
            pa.map_(_writable_field(kind.key_field), _writable_field(kind.item_field), kind.keys_sorted)
        )
    return field.with_type(pa.binary()) if types.is_fixed_size_binary(kind) and not kind.byte_width else field
