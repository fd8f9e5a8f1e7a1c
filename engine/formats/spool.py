"""Batches kept from one pass for the next: in memory while they are few, then in a file without a name."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

__all__ = ["MEMORY_BYTES", "Spool", "all_of"]

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
        self._batches: list[pa.RecordBatch | tuple[int, int] | None] = []
        self._schemas: list[pa.Schema] = []
        self._in_memory = self._in_file = 0
        self._file: Any = None
        self._room: int | None = None
        self._ends: set[int] = set()  # of the places in the file that are taken
        self._closed = False
        self._lock = threading.Lock()

    def add(self, batch: pa.RecordBatch) -> int | None:
        """Keeps a batch; returns its number, or None where the disk has no room for it or the spool is closed.

        Any number of threads may add.
        """
        kept: pa.RecordBatch | tuple[int, int] | None = batch
        size = batch.nbytes
        with self._lock:
            if self._closed:
                return None
            in_memory = self._in_memory + size <= self._memory_bytes
            self._in_memory += size * in_memory
        if not in_memory:
            kept = self._write(batch)
        if kept is None:
            return None
        with self._lock:
            if self._closed:
                return None
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
        assert kept is not None, "it was given up"
        offset, size = kept
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            done += os.preadv(self._file.fileno(), [view[done:]], offset + done)
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            return reader.read_next_batch()

    def forget(self, numbers: Iterable[int]) -> None:
        """Gives up batches that nobody reads any more, with their memory; the file ends behind the last of those that are left."""
        with self._lock:
            for number in numbers:
                kept, self._batches[number] = self._batches[number], None
                if isinstance(kept, pa.RecordBatch):
                    self._in_memory -= kept.nbytes
                elif kept is not None:
                    self._leave(sum(kept))

    def close(self) -> None:
        """Gives up all batches, and takes no more. Nobody may read meanwhile."""
        with self._lock:
            self._closed = True
            self._batches.clear()
            self._file = None  # closed by the last thread that still writes to it

    def _leave(self, end: int) -> None:
        """Gives up a place in the file; with the lock."""
        self._ends.discard(end)
        last = max(self._ends, default=0)
        if last < self._in_file and self._file is not None:
            self._file.truncate(last)
            self._in_file = last

    def _write(self, batch: pa.RecordBatch) -> tuple[int, int] | None:
        """Writes a batch at a place of its own; only to choose the place takes the lock."""
        packed = pa.BufferOutputStream()
        with pa.ipc.new_stream(packed, batch.schema) as writer:
            writer.write_batch(batch)
        data = packed.getvalue()
        end = None
        try:
            with self._lock:
                if self._closed:
                    return None
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._directory, prefix="fullpass-spool-")  # noqa: SIM115
                    free = shutil.disk_usage(self._directory or tempfile.gettempdir()).free
                    self._room = int(free * _SHARE_OF_FREE_DISK)
                assert self._room is not None
                file, offset = self._file, self._in_file
                if offset + data.size > self._room:
                    return None
                self._in_file = end = offset + data.size
                self._ends.add(end)
            view, done = memoryview(data), 0
            while done < data.size:
                done += os.pwrite(file.fileno(), view[done:], offset + done)
        except OSError:  # no room after all: whoever asks reads its own source again
            with self._lock:
                if end is not None:
                    self._leave(end)
            return None
        return offset, data.size


def all_of(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields batches once all of them were read: a block counts whole or not at all. Those of a large one wait on the disk."""
    spool = Spool()
    kept = [batch if (number := spool.add(batch)) is None else number for batch in batches]
    return (spool.read(each) if isinstance(each, int) else each for each in kept)
