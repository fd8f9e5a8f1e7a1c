"""CSV files as batches of texts, parsed by all cores; what is wrong with a row is said with its file, record and line."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.csv as pacsv

from engine.core.errors import DataError
from engine.formats.csv.bad_cell import shown
from engine.formats.csv.options import CsvOptions
from engine.formats.csv.pieces import CsvPieces, NoText, Piece
from engine.formats.csv.text_stream import not_decodable, open_text
from engine.machine.ahead import map_in_order
from engine.machine.processes import processors

__all__ = ["Parsed", "columns_of_any", "csv_columns", "parse_csv"]

T = TypeVar("T")
_BAD_ROW = re.compile(r"Row #(\d+): (Expected (\d+) columns, got \d+): (.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Parsed(Generic[T]):
    """What `work` made of a piece's texts, and where its records are.

    Args:
        result: of `work`.
        rows: records of the piece.
        first_record: index within the file of the first.
    """

    result: T
    rows: int
    first_record: int


def csv_columns(path: str, options: CsvOptions | None = None) -> list[str]:
    """Returns the names of a file's columns.

    Raises:
        DataError: the file is empty where a header should be.
    """
    options = options or CsvOptions()
    with open_text(path, options.encoding) as text:
        return CsvPieces(text, options).names


def columns_of_any(paths: Sequence[str], options: CsvOptions | None = None) -> list[str]:
    """Returns the names of the first file's columns that holds anything, not even names of columns being in the others.

    Raises:
        DataError: all files are empty.
    """
    for path in paths:
        with contextlib.suppress(NoText):
            return csv_columns(path, options)
    return csv_columns(paths[0], options)


def parse_csv(
    path: str, options: CsvOptions, work: Callable[[pa.RecordBatch], T], threads: int | None = None
) -> Iterator[Parsed[T]]:
    """Yields what `work` makes of each piece of the file, in order; pieces are parsed, and worked on, by all cores.

    Args:
        path: file or URI.
        options: how it is written.
        work: called in many threads with the texts of a piece, a string column for each of the file's.
        threads: None takes one for each core.

    Raises:
        DataError: a row with more or fewer values than the header, text that is not of the encoding, a quote never closed.
    """
    with open_text(path, options.encoding) as text:
        pieces = CsvPieces(text, options)
        convert = _convert_options(pieces.names, options)
        records = 0
        fault: DataError | None = None

        def cut() -> Iterator[Piece]:
            nonlocal fault
            try:
                yield from pieces
            except DataError as error:  # a packed file that is cut off, an unclosed quote
                fault = error

        def parse(piece: Piece) -> tuple[int, T]:
            batch = _texts(piece, pieces, options, convert)
            return batch.num_rows, work(batch)

        with contextlib.closing(map_in_order(parse, cut(), threads or processors())) as results:
            try:
                for rows, result in results:
                    yield Parsed(result, rows, records)
                    records += rows
            except _BadRow as bad:
                raise bad.located(path, records) from None
        if fault is not None:
            raise DataError(fault.message, path=fault.path, record=records, offset_bytes=fault.offset_bytes) from fault


class _BadRow(Exception):
    """A row that cannot be read; `row` counts from its piece's first, and `text` is the row's own where it is known."""

    def __init__(self, piece: Piece, row: int, message: str, text: str = "") -> None:
        super().__init__(message)
        self.piece, self.row, self.message, self.text = piece, row, message, text

    def located(self, path: str, first_record: int) -> DataError:
        data = bytes(self.piece.data)
        at = data.find(self.text.encode()) if self.text else -1
        line = f" (line {self.piece.first_line + data.count(10, 0, at)})" if at >= 0 else ""
        return DataError(self.message + line, path=path, record=first_record + self.row)


def _convert_options(names: list[str], options: CsvOptions) -> pacsv.ConvertOptions:
    return pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=["", *(options.null_values or ())],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )


def _texts(piece: Piece, pieces: CsvPieces, options: CsvOptions, convert: pacsv.ConvertOptions) -> pa.RecordBatch:
    parse = pacsv.ParseOptions(delimiter=pieces.delimiter, quote_char=pieces.quote or False, newlines_in_values=True)
    read = pacsv.ReadOptions(column_names=pieces.names, use_threads=False, block_size=max(len(piece.data) + 4, 1 << 16))
    try:
        table = pacsv.read_csv(_buffer(piece), read, parse, convert)
    except (pa.ArrowInvalid, pa.ArrowCapacityError) as error:
        if "Empty CSV" in str(error):
            return _no_rows(pieces.names)
        # Not with an `invalid_row_handler`: it is called with the row as text, which fails where the row is not UTF-8.
        if found := _BAD_ROW.search(str(error)):
            row, expected, text = int(found[1]), int(found[3]), found[4]
            advice = "; is the delimiter another one?" if expected == 1 else ""
            raise _BadRow(piece, row - 1, f"{found[2]}: {shown(text)}{advice}", text) from None
        if "invalid UTF8" in str(error):
            raise _not_utf8(piece, pieces, options, read, parse) from None
        raise DataError(str(error).split("\n")[0][:300], path=pieces.path) from error
    batches = table.to_batches()
    if len(batches) > 1:
        batches = table.combine_chunks().to_batches()
    return batches[0] if batches else _no_rows(pieces.names)


def _buffer(piece: Piece) -> pa.BufferReader:
    # pyarrow takes a mark off the beginning of whatever it reads. That of the file is off already: this one is data.
    marked = bytes(piece.data[:3]) == codecs.BOM_UTF8
    return pa.BufferReader(codecs.BOM_UTF8 + bytes(piece.data) if marked else piece.data)


def _no_rows(names: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], pa.string()) for _ in names], names=names)


def _not_utf8(
    piece: Piece, pieces: CsvPieces, options: CsvOptions, read: pacsv.ReadOptions, parse: pacsv.ParseOptions
) -> Exception:
    """Finds the first value that is not UTF-8."""
    raw = pacsv.ConvertOptions(column_types=dict.fromkeys(pieces.names, pa.binary()))
    table = pacsv.read_csv(_buffer(piece), read, parse, raw)
    found: list[tuple[int, str, bytes]] = []
    for name, column in zip(table.column_names, table.columns):
        for row, value in enumerate(column.to_pylist()):
            try:
                (value or b"").decode()
            except UnicodeDecodeError:
                found.append((row, name, value))
                break
    row, name, value = min(found)
    advice = not_decodable(pieces.path, "utf-8", "").message.partition("; say")[2]
    return _BadRow(piece, row, f"column {name!r} holds {value[:40]!r} here, invalid UTF8 data; say{advice}")
