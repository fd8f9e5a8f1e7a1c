"""Arrow IPC: files (Feather version 2 is the same) by record batches, and streams, as Hugging Face saves data sets, as one block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import DataError
from engine.formats.beginnings import may_be_text
from engine.formats.foreign.ipc_messages import (
    BATCH,
    DICTIONARY,
    Message,
    read_footer,
    read_message,
    unpacked_bytes,
)
from engine.formats.foreign.ipc_unpacked import unpacked_batches
from engine.formats.foreign.numbered import NumberedFile, NumberedFormat
from engine.schema.kinds import is_text_or_bytes
from engine.schema.lists import value_lengths
from engine.schema.plain_layouts import plain_array, plain_schema
from engine.storage import paths as _paths
from engine.storage import uris as _uris

__all__ = ["FORMAT"]

_FILE, _STREAM, _FEATHER_1 = b"ARROW1\0\0", b"\xff\xff\xff\xff", b"FEA1"
MOST_BYTES = 256 << 20  # that a record batch becomes in memory; a larger one is unpacked on the disk
MOST_RUN_BYTES = (
    64 << 20
)  # of decoded rows at once: a run of a billion is a few bytes in a file, as is a text that many rows share
_FOOTER_BYTES = 1 << 16  # the end of a file, which says where all of it lies


def _matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is Arrow IPC."""
    if head.startswith(_FEATHER_1):
        return not may_be_text(head)
    return head.startswith(_FILE) or (head.startswith(_STREAM) and head[4:8] != _STREAM)


class _IpcFile(NumberedFile):
    def __init__(self, path: str) -> None:
        self._path = path
        self._source: Any = _paths.open_input(path) if _uris.is_remote(path) else pa.memory_map(_uris.arrow_name(path))
        head = self._source.read(8)
        self._source.seek(0)
        if head.startswith(_FEATHER_1):
            raise DataError(
                "is Feather version 1, which pyarrow.feather reads: write it anew as Feather version 2 or Parquet",
                path=path,
            )
        self._reader: Any = pa.ipc.open_file(self._source) if head.startswith(_FILE) else None
        reader = self._reader or pa.ipc.open_stream(self._source)
        self.schema = plain_schema(reader.schema, path)
        size_bytes, _ = _paths.stat(path)
        blocks = self._reader.num_record_batches if self._reader else 1
        self.sizes = [size_bytes // max(blocks, 1)] * blocks
        self._dictionaries: list[Message] = []  # of a file, the schema before them
        self._places: list[int] = []
        self._dictionary_bytes = 0
        if self._reader is not None:
            schema, places, self._places = read_footer(self._source, size_bytes)
            self._dictionaries = [schema, *map(self._message, places)]
            self._dictionary_bytes = sum(unpacked_bytes(self._source, each) for each in self._dictionaries)

    def read(self, block: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a block."""
        for batch in self._stream() if self._reader is None else self._block(block):
            yield from _chosen(batch, columns)

    def count(self, block: int) -> int:
        """Returns the rows of a block; those that a large one says, to which whoever reads it is held."""
        if self._reader is not None and self._is_large(message := self._message(self._places[block])):
            return message.rows
        return super().count(block)

    def _is_large(self, message: Message) -> bool:
        return max(self._dictionary_bytes, unpacked_bytes(self._source, message)) > MOST_BYTES

    def _block(self, block: int) -> Iterator[pa.RecordBatch]:
        message = self._message(self._places[block])
        if self._is_large(message):
            yield from unpacked_batches(self._source, [*self._dictionaries, message])
        else:
            yield self._reader.get_batch(block)

    def _message(self, place: int) -> Message:
        message = read_message(self._source, place)
        if message is None:
            raise ValueError(f"nothing lies at byte {place}, where its footer says that something does")
        return message

    def _stream(self) -> Iterator[pa.RecordBatch]:
        """Yields the record batches of a stream; from the first message on that becomes too much, each by way of the disk."""
        with _paths.open_input(self._path) as source:
            schema = read_message(source, 0)
            assert schema is not None, "it was opened"
            source.seek(0)
            with pa.ipc.open_stream(source) as stream:
                before, at, known, said = [schema], schema.stop, schema.stop, 0
                while (message := read_message(source, at)) is not None:
                    at, said = message.stop, said + unpacked_bytes(source, message)
                    if message.kind == DICTIONARY:
                        before.append(message)
                    elif message.kind == BATCH:
                        if said > MOST_BYTES:
                            yield from unpacked_batches(source, [*before, message])
                            continue
                        source.seek(known)
                        yield from itertools.islice(stream, 1)
                        known, said = at, 0
                if said <= MOST_BYTES:
                    source.seek(known)
                    yield from stream  # nothing, where it ends as it should

    def hash(self, block: int) -> bytes:
        """Returns the footer, which says where every batch lies."""
        size_bytes, _ = _paths.stat(self._path)
        with _paths.open_input(self._path) as file:
            file.seek(max(size_bytes - _FOOTER_BYTES, 0))
            return size_bytes.to_bytes(8, "little") + file.read(_FOOTER_BYTES)


def _chosen(batch: pa.RecordBatch, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """The rows of a batch, at once or, where a few of them are much in memory, by as many as there is room for."""
    chosen = batch if columns is None else batch.select(list(columns))
    # Arrow takes offsets as the file has them: a damaged one would be read as memory, and end the process.
    chosen.validate(full=True)
    row_bytes = sum(_decoded_bytes_of_one(column) for column in chosen.columns) if chosen.num_rows else 0
    rows = max(1, chosen.num_rows)
    if row_bytes * rows > MOST_RUN_BYTES:
        rows = 1 << max(MOST_RUN_BYTES // row_bytes, 1).bit_length() - 1  # batches of 2^16 rows have whole ones
    for start in range(0, max(1, chosen.num_rows), rows):
        part = chosen.slice(start, rows)
        arrays = [plain_array(column) for column in part.columns]  # of run ends Arrow counts no null
        if all(array is column for array, column in zip(arrays, part.columns)):
            yield part
        else:
            yield pa.RecordBatch.from_arrays(arrays, names=chosen.schema.names)


def _decoded_bytes_of_one(column: pa.Array) -> int:
    """What the largest value of a column takes in memory once it is decoded, where many rows may share one; else 0."""
    types, kind = pa.types, column.type
    if types.is_run_end_encoded(kind):
        return _bytes_of_one(column.values)
    if types.is_dictionary(kind):
        return _bytes_of_one(column.dictionary)
    if _is_view(kind):
        return _bytes_of_one(column)
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return int(value_lengths(column).max(initial=0)) * _bytes_of_one(column.values)
    return 0


def _bytes_of_one(values: pa.Array) -> int:
    """What the largest of some values takes in memory, about; at least a byte."""
    if _is_view(values.type):
        _, views, *_ = values.buffers()  # of 16 bytes, the length first; Arrow tells it of none
        lengths = np.frombuffer(views or b"", np.int32)[4 * values.offset : 4 * (values.offset + len(values)) : 4]
        return 8 + int(lengths.max(initial=0))
    if is_text_or_bytes(values.type) and not pa.types.is_fixed_size_binary(values.type):
        return 8 + int(pc.max(pc.binary_length(values)).as_py() or 0)
    return 8 + int(values.nbytes // max(len(values), 1))


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


FORMAT = NumberedFormat("arrow", _IpcFile, _matches, (".arrow", ".feather", ".ipc", ".arrows"))
