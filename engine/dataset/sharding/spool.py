"""Batches kept from one pass for the next: in memory while they are few, then in a file without a name."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import DataError
from engine.dataset.sharding.source import Source, SourcePart
from engine.storage import uris as _uris

__all__ = ["MEMORY_BYTES", "Spool", "spool_directory", "spooled_source"]

MEMORY_BYTES = 64 << 20  # up to so much, parsed data never touch a disk
_SHARE_OF_FREE_DISK = 0.5  # the shards may be written to the same disk


class Spool:
    """Keeps batches of any schemas, by number. The file has no name, so that nothing of it outlives the process, however it ends.

    Args:
        directory: where its file goes; None takes the directory for temporary files.
        memory_bytes: bytes of batches that are kept in memory before there is a file; None takes MEMORY_BYTES.
    """

    def __init__(self, directory: str | None = None, memory_bytes: int | None = None) -> None:
        self._directory = directory
        self._memory_bytes = MEMORY_BYTES if memory_bytes is None else memory_bytes
        self._batches: list[pa.RecordBatch | tuple[int, int]] = []
        self._schemas: list[pa.Schema] = []
        self._in_memory = self._in_file = 0
        self._file: Any = None
        self._room: int | None = None
        self._lock = threading.Lock()

    def add(self, batch: pa.RecordBatch) -> int | None:
        """Keeps a batch; returns its number, or None where the disk has no room for it. Any number of threads may add."""
        kept: pa.RecordBatch | tuple[int, int] | None = batch
        size = batch.nbytes
        with self._lock:
            in_memory = self._in_memory + size <= self._memory_bytes
            self._in_memory += size * in_memory
        if not in_memory:
            kept = self._write(batch)
        if kept is None:
            return None
        with self._lock:
            self._batches.append(kept)
            self._schemas.append(batch.schema)
            return len(self._batches) - 1

    def schema(self, number: int) -> pa.Schema:
        """Returns the schema of a kept batch."""
        return self._schemas[number]

    def read(self, number: int) -> pa.RecordBatch:
        """Returns a kept batch; any number of threads may read."""
        kept = self._batches[number]
        if isinstance(kept, pa.RecordBatch):
            return kept
        offset, size = kept
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            done += os.preadv(self._file.fileno(), [view[done:]], offset + done)
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            return reader.read_next_batch()

    def _write(self, batch: pa.RecordBatch) -> tuple[int, int] | None:
        """Writes a batch at a place of its own; only to choose the place takes the lock."""
        packed = pa.BufferOutputStream()
        with pa.ipc.new_stream(packed, batch.schema) as writer:
            writer.write_batch(batch)
        data = packed.getvalue()
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._directory, prefix="fullpass-spool-")  # noqa: SIM115
                    free = shutil.disk_usage(self._directory or tempfile.gettempdir()).free
                    self._room = int(free * _SHARE_OF_FREE_DISK)
                assert self._room is not None
                offset = self._in_file
                if offset + data.size > self._room:
                    return None
                self._in_file += data.size
            view, done = memoryview(data), 0
            while done < data.size:
                done += os.pwrite(self._file.fileno(), view[done:], offset + done)
        except OSError:  # no room after all: whoever asks reads its own source again
            return None
        return offset, data.size


def spool_directory(out: str) -> str | None:
    """The nearest directory there is on the way to a local output: its disk has room for what is written to it."""
    if _uris.is_remote(out):
        return None
    place = _uris.local_path(out).absolute().parent
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return str(place) if os.access(place, os.W_OK) else None


def spooled_source(
    batches: Iterable[tuple[str, pa.RecordBatch]],
    *,
    paths: Sequence[str],
    notes: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    directory: str | None = None,
) -> Source:
    """Returns the source of batches; a column is nullable where a null was seen.

    Args:
        batches: (file, rows of it), all of one schema.
        paths: files that they come from.
        notes: of the source.
        aliases: column as a user names it → its name in the batches, for columns that are split by and not written.
        directory: where batches are kept, if they are many; None takes that of temporary files.

    Raises:
        DataError: there is no batch, or no room for them.
    """
    spool, parts = Spool(directory), []
    schema: pa.Schema | None = None
    nullable: set[str] = set()
    for path, batch in batches:
        schema = schema or batch.schema
        nullable |= {name for name, column in zip(schema.names, batch.columns) if column.null_count}
        number = spool.add(batch)
        if number is None:
            raise DataError(
                f"has no room for {batch.nbytes:,} more bytes of rows", path=directory or "temporary directory"
            )

        def read(number: int = number) -> Iterator[pa.RecordBatch]:
            yield spool.read(number)

        parts.append(SourcePart(path=path, records=batch.num_rows, read=read))
    if schema is None:
        raise DataError("gave no record", path=paths[0])
    hidden = set((aliases or {}).values())
    written = pa.schema(
        [field.with_nullable(field.name in nullable) for field in schema if field.name not in hidden],
        metadata=schema.metadata,
    )

    def read_all(batch_rows: int) -> Iterator[pa.RecordBatch]:
        for part in parts:
            yield from part.read()

    records = sum(part.records for part in parts)
    return Source(written, records, list(paths), read_all, tuple(notes), parts, aliases)
