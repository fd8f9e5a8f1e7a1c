"""Avro through fastavro; a block is a run of the file's own blocks."""

from __future__ import annotations

import contextlib
import io
import itertools
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.formats.foreign.avro_codecs import SYNC_BYTES, plain_header, refuse_unknown, unpacked_blocks
from engine.formats.foreign.avro_schema import arrow_schema
from engine.formats.foreign.numbered import NumberedFile, NumberedFormat
from engine.formats.foreign.varints import zigzag
from engine.schema.plain_layouts import plain_schema
from engine.storage import paths as _paths

__all__ = ["FORMAT"]

BLOCK_BYTES = 1 << 20
_MAGIC = b"Obj\x01"
_ROWS = 16384
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
            self._header = plain_header(file.read(end), reader.metadata, self._codec)
            self._bounds, self._counts = _walk(file, end, _paths.stat(path)[0], path)
        self.schema = plain_schema(arrow_schema(reader.writer_schema, path), path)
        self.sizes = [stop - start for start, stop in itertools.pairwise(self._bounds)]

    def count(self, block: int) -> int:
        """Returns the rows of a block, which the file says."""
        return self._counts[block]

    def read(self, block: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a block."""
        chosen = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        with _one_error():
            records = iter(
                _fastavro().reader(io.BytesIO(self._header + unpacked_blocks(self._bytes(block), self._codec)))
            )
        while rows := _next_rows(records):
            arrays = [pa.array([_plain(row[field.name]) for row in rows], field.type) for field in chosen]
            if arrays:
                yield pa.RecordBatch.from_arrays(arrays, schema=chosen)
            else:
                yield pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))

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


def _next_rows(records: Iterator[Any]) -> list[Any]:
    with _one_error():
        return list(itertools.islice(records, _ROWS))


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


def _plain(value: Any) -> Any:
    """A value with UUIDs, which Arrow takes for no text, as their text, however deep."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return str(value) if isinstance(value, uuid.UUID) else value


FORMAT = NumberedFormat("avro", _AvroFile, _matches, (".avro",), shared=True)
