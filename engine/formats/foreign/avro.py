"""Avro through fastavro; a block is a run of the file's own blocks."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.formats.foreign.avro_codecs import (
    SYNC_BYTES,
    Source,
    plain_block,
    plain_header,
    refuse_unknown,
    unpacked_blocks,
)
from engine.formats.foreign.avro_schema import arrow_schema, object_bytes, plain_value
from engine.formats.foreign.numbered import NumberedFile, NumberedFormat
from engine.formats.foreign.wire import zigzag
from engine.schema.plain_layouts import plain_schema
from engine.storage import paths as _paths

__all__ = ["FORMAT"]

BLOCK_BYTES = 1 << 20
_MAGIC = b"Obj\x01"
_ROWS = 16384
BATCH_BYTES = 256 << 20  # that records take as Python has them, about
MOST_OBJECT_BYTES = 1 << 30  # of one record: a list of ones is a byte each in Avro, and forty in Python
_RECORDS_A_BYTE = 1 << 20  # no codec packs more of one byte each into one; a file may have records of none


def _matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is Avro."""
    return head.startswith(_MAGIC)


class _AvroFile(NumberedFile):
    def __init__(self, path: str) -> None:
        fastavro = _fastavro()
        self._path = path
        with _paths.open_input(path) as raw:
            file: Any = io.BufferedReader(raw)  # type: ignore[arg-type]
            with _one_error():
                reader = fastavro.block_reader(file)
            self._codec = reader.codec
            refuse_unknown(self._codec, path)
            end = file.tell()  # the header alone was read
            file.seek(0)
            header = file.read(end)
            self._bounds, self._counts = _walk(file, end, _paths.stat(path)[0], path)
        self._written: Any = reader.writer_schema
        text = reader.metadata["avro.schema"]
        self._sync = header[-SYNC_BYTES:]
        self._header = plain_header(text, self._sync)
        self._with_uuids = "uuid" in text
        self.schema = plain_schema(arrow_schema(self._written, path), path)
        self._record_bytes, self._times = object_bytes(self.schema)
        self.sizes = [stop - start for start, stop in itertools.pairwise(self._bounds)]

    def count(self, block: int) -> int:
        """Returns the rows of a block, which the file says."""
        return self._counts[block]

    def read(self, block: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a block."""
        chosen = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        rows: list[Any] = []
        held = 0.0
        for found, size in self._found(block):
            if rows and (len(rows) + len(found) > _ROWS or held + size > BATCH_BYTES):
                yield self._batch(rows, chosen)
                rows, held = [], 0.0
            rows += found
            held += size
        if rows:
            yield self._batch(rows, chosen)

    def _batch(self, rows: list[Any], chosen: pa.Schema) -> pa.RecordBatch:
        if not len(chosen):
            return pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
        arrays = [
            pa.array(
                [plain_value(row[field.name]) if self._with_uuids else row[field.name] for row in rows], field.type
            )
            for field in chosen
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=chosen)

    def _found(self, block: int) -> Iterator[tuple[list[Any], float]]:
        """Yields records of a block, up to _ROWS of them, with what they take in memory, about."""
        fastavro, source = _fastavro(), Source(self._header)
        records: Iterator[Any] | None = None
        blocks = unpacked_blocks(self._bytes(block), self._codec)
        while (one := _next(blocks)) is not None:
            count, data, mark = one
            if len(data) * self._times > MOST_OBJECT_BYTES:
                yield from self._one_by_one(count, data, mark)
                continue
            source.put(plain_block(count, data, mark))
            if records is None:
                with _one_error():
                    records = iter(fastavro.reader(source))
            size = self._record_bytes + len(data) / max(count, 1) * self._times
            at_once = max(1, min(_ROWS, int(BATCH_BYTES / max(size, 1))))
            for start in range(0, count, at_once):
                wanted = min(at_once, count - start)
                with _one_error():
                    found = list(itertools.islice(records, wanted))
                if len(found) < wanted:
                    raise EOFError
                yield found, len(found) * size
        if records is not None:
            _next(records)  # there is none; it looks at the mark behind the last block

    def _one_by_one(self, count: int, data: bytes, mark: bytes) -> Iterator[tuple[list[Any], float]]:
        """Yields the records of a block that could take too much memory, were they a few: none of them may."""
        most = int(MOST_OBJECT_BYTES / self._times)
        source = Source(data)
        for _ in range(count):
            source.allow(most, of_one=count == 1)
            with _one_error():
                found = _fastavro().schemaless_reader(source, self._written)
            yield [found], self._record_bytes + (most - source.left) * self._times
        if mark != self._sync:
            raise ValueError("the mark behind a block is not the file's")

    def hash(self, block: int) -> bytes:
        """Returns the block's bytes."""
        return self._bytes(block)

    def _bytes(self, block: int) -> bytes:
        with _paths.open_input(self._path) as file:
            file.seek(self._bounds[block])
            parts, count = [], self.sizes[block]
            while count and (part := file.read(count)):
                parts.append(part)
                count -= len(part)
        return b"".join(parts)


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Makes a ValueError of what fastavro raises: its codecs have errors of their own (zlib, lzma, snappy), which share no base."""
    try:
        yield
    except (DataError, OSError, MemoryError, EOFError):
        raise
    except Exception as error:
        raise ValueError(str(error)) from error


def _next(items: Iterator[Any]) -> Any:
    with _one_error():
        return next(items, None)


def _fastavro() -> Any:
    try:
        import fastavro
    except ImportError as error:
        raise ConfigError("reading Avro needs fastavro: pip install 'fullpass[avro]'") from error
    return fastavro


def _walk(file: Any, start: int, size_bytes: int, path: str) -> tuple[list[int], list[int]]:
    """Returns (offsets of the blocks, to the end; their records), from the blocks' headers: a count, a size, a mark behind."""
    bounds, counts, place = [start], [0], start
    while place < size_bytes:
        begin = place
        file.seek(place)
        head = file.read(20)
        records, used = zigzag(head, 0)
        size, used = zigzag(head, used)
        place += used + size + SYNC_BYTES
        if records < 0 or size < 0 or place > size_bytes:
            raise DataError(
                "the block that begins here ends behind the file: it was cut, or is damaged",
                path=path,
                record=sum(counts),
                offset_bytes=begin,
            )
        if records > max(size, 1) * _RECORDS_A_BYTE:
            raise DataError(
                f"the block that begins here says {records:,} records in {size:,} bytes: it is damaged",
                path=path,
                record=sum(counts),
                offset_bytes=begin,
            )
        counts[-1] += records
        if place - bounds[-1] >= BLOCK_BYTES and place < size_bytes:
            bounds.append(place)
            counts.append(0)
    return ([*bounds, size_bytes], counts) if size_bytes > start else ([start], [])


FORMAT = NumberedFormat("avro", _AvroFile, _matches, (".avro",), shared=True)
