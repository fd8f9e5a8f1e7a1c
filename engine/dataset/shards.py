"""A set of shards filled one after the other by pushing batches: even to the record, with one file open at a time."""

from __future__ import annotations

import contextlib
from typing import Any

import pyarrow as pa

from engine.core.errors import DataError
from engine.dataset.file_entry import FileEntry
from engine.dataset.write import shard_name
from engine.formats.registry import format_module
from engine.schema.conform import conform
from engine.storage import paths as _paths

__all__ = ["ShardSet"]


class ShardSet:
    """Writes a known number of records into shards of even counts, in order. Use it as a context manager.

    Args:
        directory: where the shards go; each appears whole or not at all.
        schema: of every batch.
        format: "parquet" or "tfrecord".
        compression: as the format takes.
        num_shards: files.
        num_records: records that will be pushed in all.
        stem: first part of the file names.
    """

    def __init__(
        self,
        directory: str,
        schema: pa.Schema,
        *,
        format: str,
        compression: str | None,
        num_shards: int,
        num_records: int,
        stem: str = "data",
    ) -> None:
        self._directory, self._schema, self._stem = directory, schema, stem
        self._format, self._compression = format, compression
        self._bounds = [num_records * i // num_shards for i in range(num_shards + 1)]
        self._paths: list[str] = []
        self._records = 0
        self._file = contextlib.ExitStack()
        self._writer: Any = None

    def __enter__(self) -> ShardSet:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            if self._writer is not None:
                self._writer.abandon()
            self._file.__exit__(type(error), error, error.__traceback__)

    def push(self, batch: pa.RecordBatch) -> None:
        """Adds the batch's rows; cuts it where shards end.

        Raises:
            DataError: more rows than were counted, or a value that does not fit the schema.
        """
        batch = conform(batch, self._schema, None, self._records)
        while batch.num_rows:
            if self._records == self._bounds[-1]:
                raise DataError(
                    f"more than the {self._bounds[-1]} counted records came",
                    path=self._directory,
                    record=self._records,
                )
            self._open_up_to(self._records)
            piece = batch.slice(0, self._bounds[len(self._paths)] - self._records)
            self._writer.write(piece)
            self._records += piece.num_rows
            batch = batch.slice(piece.num_rows)

    def finish(self) -> list[FileEntry]:
        """Closes the last shard, reads every shard's records back by their headers, and returns the entries.

        Raises:
            DataError: fewer records came than were counted, or a shard does not hold what was written to it.
        """
        if self._records != self._bounds[-1]:
            raise DataError(f"{self._records} records came, {self._bounds[-1]} were counted", path=self._directory)
        self._open_up_to(self._records)
        self._close()
        bounds = zip(self._paths, self._bounds, self._bounds[1:])
        return [FileEntry.of_written(path, stop - first) for path, first, stop in bounds]

    def _open_up_to(self, record: int) -> None:
        """Opens the shard that takes `record`, and empty ones before it."""
        count = len(self._bounds) - 1
        while not self._paths or (self._bounds[len(self._paths)] <= record and len(self._paths) < count):
            self._close()
            name = shard_name(len(self._paths), count, self._format, self._compression, self._stem)
            path = _paths.join(self._directory, name)
            file = self._file.enter_context(_paths.open_output(path))
            self._writer = format_module(self._format).Writer(file, self._schema, self._compression)
            self._paths.append(path)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._file.close()
