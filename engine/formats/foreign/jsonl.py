"""JSON lines: one object a line, plain or compressed; text stays text, also where it looks like a time.

A plain file is read in runs of whole lines, which are its blocks; a compressed one is one block, and what its first pass
parsed is kept for the next where there is room.
"""

from __future__ import annotations

import hashlib
import itertools
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.json
from isal import igzip_lib

from engine.core.errors import DataError
from engine.formats.beginnings import unpacked_head
from engine.formats.csv.packed_streams import packing_of, unpacking
from engine.formats.foreign.json_integers import rounded_column
from engine.formats.foreign.json_pieces import BadLine, read_pieces
from engine.formats.foreign.numbered import NumberedFile, NumberedFormat
from engine.formats.spool import Spool
from engine.formats.tfrecord.stream import HEAD_BYTES, header_holds
from engine.machine.ahead import map_in_order
from engine.machine.processes import processors
from engine.schema.unify import unify_schemas
from engine.storage import paths as _paths

__all__ = ["FORMAT"]

BLOCK_BYTES = 4 << 20
MOST_BYTES = 1 << 30  # of one line, as of a CSV file's record: the reader counts in 31 bits
_READ_BYTES = 1 << 16  # of a compressed file at once: as much before a damaged place may be lost with it
KEPT_IN_MEMORY = 16 << 20  # of a packed file's records; the rest is on disk
_BOM = b"\xef\xbb\xbf"
_JSON = re.compile(rb"\s*(\{|\[\s*\{)")
_JSON_ARRAY = re.compile(rb"\s*\[")


class _BadStream(ValueError):
    """What a compressed file has from some place on."""


def _matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is JSON, gzip of it included; an array is refused by the reader."""
    head = unpacked_head(head)
    # A TFRecord file whose first record has 123 bytes begins with "{" as well.
    return _JSON.match(head.removeprefix(_BOM)) is not None and not header_holds(head)


class _Facts(NamedTuple):
    """What is kept of a parsed batch when its file is opened.

    Args:
        block: that it is of.
        rows: of it.
        schema: of it, times as texts.
        nulls: columns that hold one.
        timed: columns whose texts the reader takes for times if it may.
        number: of the batch in the spool; None where it is not there.
    """

    block: int
    rows: int
    schema: pa.Schema
    nulls: set[str]
    timed: set[str]
    number: int | None


class _JsonFile(NumberedFile):
    def __init__(self, path: str) -> None:
        self._path = path
        with _paths.open_input(path) as file:
            head = file.read(HEAD_BYTES) or b""
        if _JSON_ARRAY.match(unpacked_head(head).removeprefix(_BOM)):
            raise DataError(
                "is one JSON array; JSON lines have an object a line: jq -c '.[]' makes them of it", path=path
            )
        self._packed = packing_of(head, path)
        self._bounds = [0, _paths.stat(path)[0]] if self._packed else _line_bounds(path)
        self.sizes = [stop - start for start, stop in zip(self._bounds, self._bounds[1:])]
        self._explicit = pa.schema([])
        self._spool = Spool(memory_bytes=KEPT_IN_MEMORY)
        self._kept: list[int | None] = []
        self._counts = [0] * len(self.sizes)
        self._hashes: list[bytes] = []
        self.nulls: set[str] = set()
        self._look_at_all()

    def _look_at_all(self) -> None:
        """Finds the schema, and with it all that is asked of the file before it is read: to parse it again takes as long."""
        timed: set[str] = set()
        begins_with: list[str] | None = None
        everywhere: set[str] | None = None

        def texts() -> Iterator[tuple[int, bytes]]:
            nonlocal begins_with
            for index in range(len(self.sizes)):
                digest = hashlib.blake2b(digest_size=16)
                for text in self._texts(index):
                    if begins_with is None:
                        begins_with = self._learn_times(text) if self._packed else []
                        timed.update(self._explicit.names)
                    digest.update(text)
                    yield index, text
                self._hashes.append(digest.digest())

        def found() -> Iterator[tuple[str, pa.Schema]]:
            nonlocal everywhere
            for facts in itertools.chain.from_iterable(map_in_order(self._looked_at, texts(), processors())):
                self._counts[facts.block] += facts.rows
                names = facts.schema.names
                everywhere = set(names) if everywhere is None else everywhere.intersection(names)
                self.nulls.update(facts.nulls)
                timed.update(facts.timed)
                self._kept.append(facts.number)
                yield self._path, facts.schema

        try:
            schema = unify_schemas(found()).schema
        except BadLine as error:
            raise DataError(error.message, path=self._path, record=sum(self._counts) + error.row) from error
        except _BadStream as error:
            raise DataError(
                f"cannot be unpacked from here on: {error}; it is cut off or damaged",
                path=self._path,
                record=sum(self._counts),
            ) from error
        # The reader puts those that it is told types of first.
        names = dict.fromkeys([*(begins_with or ()), *schema.names])
        self.schema = pa.schema([schema.field(name) for name in names])
        self.nulls.update(set(names).difference(everywhere or ()))
        # The reader takes text for times where all of a block's look like some.
        self._explicit = pa.schema([field for field in self.schema if field.name in timed])

    def _learn_times(self, text: bytes) -> list[str]:
        """Makes the reader take the texts of a packed file's first piece for texts in all others; returns the piece's columns.

        Of structs that is not done: what else is in them is not known yet.
        """
        try:
            schema = next(iter(self._parsed(text))).schema
        except (BadLine, DataError, StopIteration):  # whoever parses it next says so
            return []
        fields = [field.with_type(_without_times(field.type)) for field in schema if _is_time(field.type)]
        self._explicit = pa.schema(fields)
        return list(schema.names)

    def _looked_at(self, numbered: tuple[int, bytes]) -> list[_Facts]:
        block, text = numbered
        found = []
        for piece, row in read_pieces(text):
            for batch in self._read_piece(piece, row):
                texts = pa.schema([field.with_type(_without_times(field.type)) for field in batch.schema])
                timed = [field for field in texts if field != batch.schema.field(field.name)]
                if timed and self._packed:
                    explicit = {field.name: field for field in (*self._explicit, *timed)}
                    (again,) = self._read_piece(piece, row, pa.schema(list(explicit.values())))
                    batch = again.select(batch.schema.names)
                nulls = {name for name, column in zip(batch.schema.names, batch.columns) if column.null_count}
                number = self._spool.add(batch) if self._packed else None
                if self._packed and number is None:  # some pieces alone are of no use
                    self._spool.close()
                found.append(_Facts(block, batch.num_rows, texts, nulls, {field.name for field in timed}, number))
        return found

    def count(self, block: int) -> int:
        """Returns the rows of a block."""
        return self._counts[block]

    def read(self, block: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a block."""
        for batch in self._batches(block):
            if columns is None:
                yield batch
                continue
            own = set(batch.schema.names)
            arrays = [batch.column(name) if name in own else pa.nulls(batch.num_rows) for name in columns]
            if arrays:
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            else:
                yield batch.select([])

    def hash(self, block: int) -> bytes:
        """Returns the hash of the block's bytes."""
        return self._hashes[block]

    def _batches(self, block: int) -> Iterator[pa.RecordBatch]:
        # Pieces of a packed file are unpacked while those before them are parsed; plain blocks are one piece each.
        if self._packed:
            kept = [number for number in self._kept if number is not None]
            if len(kept) == len(self._kept):
                return map(self._spool.read, kept)
            return itertools.chain.from_iterable(map_in_order(self._parsed, self._texts(block), 1))
        return itertools.chain.from_iterable(map(self._parsed, self._texts(block)))

    def _texts(self, block: int) -> Iterator[bytes]:
        first = block == 0
        for text in self._pieces(block):
            yield text.removeprefix(_BOM) if first else text
            first = False

    def _parsed(self, text: bytes) -> Iterable[pa.RecordBatch]:
        """The batches of lines; those of many pieces one after another, as somebody asks for them."""
        pieces = read_pieces(text)
        first = next(pieces, None)
        if first is None:
            return []
        if len(first[0]) == len(text):
            return self._read_piece(*first)
        return (batch for piece in itertools.chain([first], pieces) for batch in self._read_piece(*piece))

    def _read_piece(self, text: bytes, row: int, explicit: pa.Schema | None = None) -> list[pa.RecordBatch]:
        try:
            table = pyarrow.json.read_json(
                pa.BufferReader(text),
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                parse_options=pyarrow.json.ParseOptions(
                    explicit_schema=self._explicit if explicit is None else explicit
                ),
            )
        except pa.ArrowInvalid as error:
            raise _bad_line(str(error), row) from error
        self._refuse_rounded(table, text)
        found: list[pa.RecordBatch] = table.combine_chunks().to_batches()
        return found

    def _pieces(self, block: int) -> Iterator[bytes]:
        """Yields the block's bytes: of a compressed file in pieces of whole lines."""
        with _paths.open_input(self._path) as raw:
            if not self._packed:
                raw.seek(self._bounds[block])
                yield _exactly(raw, self.sizes[block])
                return
            stream = unpacking(raw, self._packed)
            rest = bytearray()
            fault: Exception | None = None
            while fault is None:
                piece, fault = _unpacked(stream)
                if not piece:
                    break
                cut = piece.rfind(b"\n") + 1
                if cut:
                    yield bytes(rest) + piece[:cut]
                    rest.clear()
                rest += piece[cut:]
                if len(rest) > MOST_BYTES:
                    raise BadLine(_too_long(), 0)
            if fault is not None:
                raise _BadStream(str(fault)) from fault
            yield bytes(rest)

    def _refuse_rounded(self, table: pa.Table, text: bytes) -> None:
        """Checks that no long integer became a double that is another number: the reader makes one of what int64 cannot hold."""
        name = rounded_column(table, text)
        if name is not None:
            raise DataError(
                f"column {name!r} holds integers that int64 does not, or fractions beside integers that a double would round: "
                "write them as text",
                path=self._path,
            )


def _bad_line(said: str, first_row: int) -> BadLine:
    """What the reader refused of lines, the first of which is a row of those that were given."""
    before, _, after = said.removeprefix("JSON parse error: ").rpartition(" in row ")
    message, row = (before, int(after)) if after.isdecimal() else (said, 0)
    return BadLine(message, first_row + row)


def _too_long() -> str:
    return f"the line is longer than {MOST_BYTES >> 20:,} MiB"


def _unpacked(stream: Any) -> tuple[bytes, Exception | None]:
    """Up to BLOCK_BYTES of a compressed stream, none at its end; and what is wrong behind them."""
    parts, missing = [], BLOCK_BYTES
    try:
        while missing > 0 and (part := stream.read(min(missing, _READ_BYTES))):
            parts.append(part)
            missing -= len(part)
    except (pa.ArrowException, OSError, EOFError, zlib.error, lzma.LZMAError, igzip_lib.IsalError) as error:  # type: ignore[misc]
        return b"".join(parts), error
    return b"".join(parts), None


def _exactly(file: Any, count: int) -> bytes:
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _line_bounds(path: str) -> list[int]:
    """Offsets of lines about BLOCK_BYTES apart, from 0 to the file's size."""
    size_bytes, _ = _paths.stat(path)
    bounds = [0]
    with _paths.open_input(path) as file:
        while size_bytes - bounds[-1] > BLOCK_BYTES:
            place = bounds[-1] + BLOCK_BYTES
            file.seek(place)
            while (piece := file.read(1 << 16)) and b"\n" not in piece:
                place += len(piece)
            if not piece:
                break
            place += piece.index(b"\n") + 1
            if place >= size_bytes:
                break
            bounds.append(place)
    bounds.append(size_bytes)
    for start, stop in itertools.pairwise(bounds):
        if stop - start > BLOCK_BYTES + MOST_BYTES:
            raise DataError(_too_long(), path=path, offset_bytes=start)
    return bounds if size_bytes else [0]


def _is_time(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or (pa.types.is_list(kind) and _is_time(kind.value_type))


def _without_times(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _without_times(field.type)) for field in kind])
    return kind


FORMAT = NumberedFormat("jsonl", _JsonFile, _matches, (".jsonl", ".ndjson", ".jsonlines", ".json"), shared=True)
