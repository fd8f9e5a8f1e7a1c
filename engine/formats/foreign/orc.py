"""ORC through pyarrow; a block is a stripe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine.formats.beginnings import may_be_text
from engine.formats.foreign.numbered import NumberedFile, NumberedFormat
from engine.formats.foreign.wire import varint
from engine.schema.plain_layouts import plain_schema
from engine.storage import paths as _paths
from engine.storage import uris as _uris

__all__ = ["FORMAT"]

_OFFSET_BYTES = 4
_FOOTER_BYTES = 1 << 16  # the end of a file, which says where all of it lies
MOST_STRIPE_BYTES, BATCH_BYTES = 1 << 30, 64 << 20  # in memory: runs of equal values take next to nothing in a file
# Fields of orc_proto.proto: of FileTail, Footer, StripeInformation; ColumnStatistics; StringStatistics, BinaryStatistics.
_FOOTER, _STRIPES, _STATISTICS, _NUMBER_OF_ROWS = 2, 3, 7, 5
_VALUES, _OF_TEXTS, _OF_BYTES = 1, 4, 8
_SUM_OF = {_OF_TEXTS: 3, _OF_BYTES: 1}


def _matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is ORC."""
    return head.startswith(b"ORC") and not may_be_text(head)


class _OrcFile(NumberedFile):
    def __init__(self, path: str) -> None:
        from pyarrow import orc

        self._path = path
        self._file = orc.ORCFile(_opened(path))
        self.schema = plain_schema(self._file.schema, path)
        footer = next(
            (value for field, value in _fields(self._file.reader.serialized_file_tail()) if field == _FOOTER), b""
        )
        self._rows: list[int] = _stripe_rows(footer)
        if len(self._rows) != self._file.nstripes or sum(self._rows) != self._file.nrows:
            raise ValueError(f"its stripes have {sum(self._rows):,} rows, and its footer says {self._file.nrows:,}")
        # Nothing reads a part of a stripe: a file that may have one too large to be held is read from its beginning to its end.
        said = _said_bytes(footer) // max(self._file.nrows, 1)
        self._row_bytes = max(sum(_least_bytes(kind) for kind in self.schema.types), said)
        self._in_one_go = max(self._rows, default=0) * self._row_bytes > MOST_STRIPE_BYTES
        if self._in_one_go:
            self._rows = [sum(self._rows)]
        self.sizes = [self._file.content_length // max(len(self._rows), 1)] * len(self._rows)

    def count(self, block: int) -> int:
        """Returns the rows of a stripe, as the footer says; whoever reads it is held to them."""
        return self._rows[block]

    def read(self, block: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a stripe."""
        if columns is not None and not columns:
            columns = self.schema.names[:1]  # pyarrow takes no columns for all
        if columns is not None and any("." in name for name in self.schema.names):
            columns = None  # pyarrow takes a.b for b inside of a, too
        chosen = None if columns is None else list(columns)
        if not self._in_one_go:
            yield self._file.read_stripe(block, columns=chosen)
            return
        from pyarrow import dataset

        fragment = dataset.OrcFileFormat().make_fragment(_opened(self._path))
        rows = max(1, BATCH_BYTES // self._row_bytes)
        yield from fragment.to_batches(columns=chosen, batch_size=rows, batch_readahead=0, use_threads=False)

    def hash(self, block: int) -> bytes:
        """Returns the footer, which says where every stripe lies."""
        size_bytes, _ = _paths.stat(self._path)
        with _paths.open_input(self._path) as file:
            file.seek(max(size_bytes - _FOOTER_BYTES, 0))
            return size_bytes.to_bytes(8, "little") + file.read(_FOOTER_BYTES)


def _opened(path: str) -> Any:
    return _paths.open_input(path) if _uris.is_remote(path) else pa.OSFile(_uris.arrow_name(path))


def _least_bytes(kind: pa.DataType) -> int:
    """Bytes that a value takes in memory, at least."""
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # text, lists
        return _OFFSET_BYTES


def _stripe_rows(footer: bytes) -> list[int]:
    """The rows of each stripe, of a file's footer as liborc gives it, unpacked."""
    stripes = [value for field, value in _fields(footer) if field == _STRIPES]
    return [sum(value for field, value in _fields(stripe) if field == _NUMBER_OF_ROWS) for stripe in stripes]


def _said_bytes(footer: bytes) -> int:
    """Bytes that all values take in memory, as far as statistics of the columns say: how many they are, how long texts are in all."""
    total = 0
    for column in (value for field, value in _fields(footer) if field == _STATISTICS):
        for field, value in _fields(column):
            if field == _VALUES:
                total += value * _OFFSET_BYTES
            elif field in _SUM_OF:
                total += sum(
                    said >> 1 for part, said in _fields(value) if part == _SUM_OF[field]
                )  # zigzag, never less than 0
    return total


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """Fields of a protobuf message with their numbers: numbers and bytes, of which alone these messages are made."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        value, at = varint(message, at)
        if tag & 7 == 2:
            yield tag >> 3, message[at : at + value]
            at += value
        elif tag & 7 == 0:
            yield tag >> 3, value
        else:
            raise ValueError("its footer has a field of an unknown kind")


FORMAT = NumberedFormat("orc", _OrcFile, _matches, (".orc",))
