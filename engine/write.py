"""Writing shards: one file atomically, or a whole directory of even ones with its manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from engine import paths as _paths
from engine.conform import conform
from engine.errors import ConfigError
from engine.formats import format_module
from engine.manifest import FileEntry

__all__ = ["shard_name", "write_batches", "write_shards"]


def shard_name(index: int, num_shards: int, format: str, compression: str | None, stem: str = "data") -> str:
    """Returns the name of a shard, e.g. "data-00003-of-00064.tfrecord.gz"."""
    suffix = ".parquet" if format == "parquet" else ".tfrecord.gz" if compression == "gzip" else ".tfrecord"
    return f"{stem}-{index:05d}-of-{num_shards:05d}{suffix}"


def write_batches(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    path: str,
    format: str = "parquet",
    compression: str | None = None,
) -> int:
    """Writes batches as one file, which appears whole or not at all, and returns the records written.

    Args:
        batches: rows to write; every batch must fit the schema.
        schema: columns of the file.
        path: file or URI; its directory is made where missing.
        format: "parquet" or "tfrecord".
        compression: None; "gzip"; Parquet also "zstd" and "snappy".

    Raises:
        ConfigError: an unknown format or compression, or a column type that the format cannot hold.
        DataError: a batch that does not fit the schema.
    """
    check_output(format, compression)
    records = 0
    with _paths.open_output(str(path)) as file:
        writer = format_module(format).Writer(file, schema, compression)
        for batch in batches:
            writer.write(conform(batch, schema, str(path), records))
            records += batch.num_rows
        writer.close()
    return records


def check_output(format: str, compression: str | None) -> None:
    """Raises ConfigError where the format or its compression is unknown."""
    allowed = format_module(format).COMPRESSIONS
    if compression not in allowed:
        raise ConfigError(f"compression is {compression!r}; {format} takes {', '.join(map(repr, allowed))}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """How many records each shard takes: as even as whole records allow."""

    num_records: int
    num_shards: int

    def bounds(self) -> list[int]:
        """Returns num_shards + 1 record indices: shard i holds [bounds[i], bounds[i + 1])."""
        return [self.num_records * i // self.num_shards for i in range(self.num_shards + 1)]


def write_shards(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    directory: str,
    *,
    format: str,
    num_shards: int,
    compression: str | None,
    num_records: int,
    stem: str = "data",
    on_rows: Any = None,
) -> list[FileEntry]:
    """Writes consecutive records into `num_shards` shards of even counts, and returns their entries."""
    bounds = ShardPlan(num_records=num_records, num_shards=num_shards).bounds()
    entries = []
    pieces = _Cutter(batches)
    for index in range(num_shards):
        path = _paths.join(directory, shard_name(index, num_shards, format, compression, stem))
        write_batches(pieces.take(bounds[index + 1] - bounds[index], on_rows), schema, path, format, compression)
        entries.append(FileEntry.scan(path))
    return entries


class _Cutter:
    """Cuts a stream of batches at any row, without copying."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._rest: pa.RecordBatch | None = None

    def take(self, rows: int, on_rows: Any) -> Iterator[pa.RecordBatch]:
        while rows:
            batch = self._rest if self._rest is not None else next(self._batches, None)
            if batch is None:
                return
            piece, self._rest = batch.slice(0, rows), None
            if batch.num_rows > rows:
                self._rest = batch.slice(rows)
            rows -= piece.num_rows
            if on_rows is not None:
                on_rows(piece.num_rows)
            if piece.num_rows:
                yield piece
