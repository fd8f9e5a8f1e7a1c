"""A CSV file cut into pieces of bytes that end where a record ends, below its row of names."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Iterator
from typing import Any

from engine import _native
from engine.core.errors import DataError
from engine.core.text_encoding import is_utf8
from engine.formats.beginnings import has_no_names, said_of
from engine.formats.csv.escaped_text import EscapedText
from engine.formats.csv.options import CsvOptions
from engine.formats.csv.text_stream import TextStream, default_delimiter, not_decodable

__all__ = ["PIECE_BYTES", "CsvPieces", "NoText", "Piece"]

PIECE_BYTES = 4 << 20
# Each piece has a fixed cost for each column: pieces of files with thousands of columns are larger, up to 32 MiB.
_COLUMNS_OF_A_PIECE = 512  # of more, pieces grow: each column of each has a price of its own
_MOST_TIMES_LARGER = 8
HEAD_BYTES = 4096
_SEPARATOR_LINE = re.compile(rb"sep=([^\w\r\n\"'])\r?\n", re.IGNORECASE | re.ASCII)
_MOST_BYTES = 1 << 30  # of one record: Arrow's texts of a batch have 31-bit offsets


class NoText(DataError):
    """A file of blank lines, or of nothing, where a row of column names should be."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """Whole records.

    Args:
        data: their bytes, UTF-8.
        first_line: number of the line that they begin with, the file's first being 1.
    """

    data: bytes | memoryview
    first_line: int


class CsvPieces:
    """Cuts one file. The head (lines to skip, blank lines, the row of names) is read when it is made.

    Attributes:
        names: of the columns.
        delimiter: that is used.
        quote: around values of the pieces; those of a file with escape characters have others than the file.
        renamed: whether the names are not those of the file.

    Raises:
        NoText: an empty file, where its columns should be named or counted.
        DataError: a file without a row of names, where it should have one.
    """

    def __init__(self, text: TextStream, options: CsvOptions) -> None:
        self._text: TextStream | EscapedText = text
        self._options = options
        self.path = text.path
        self.delimiter = options.delimiter or default_delimiter(text.path)
        self.quote = options.quote
        self._quote = ord(options.quote) if options.quote else -1
        self._ahead = b""
        self._ended = False
        self._fault: DataError | None = None  # of what comes behind `_ahead`
        self._line = 1
        self._look_at_beginning()
        self._take_separator_line()
        for _ in range(options.skip_rows):
            self._take_line()
        self._skip_blank_lines()
        if options.escape:
            self._begin_escapes(text)
        first = self._first_row() if options.has_header else None
        if first is None and not options.column_names:
            first = [f"f{index}" for index in range(len(self._parsed(self._record(keep=True)) or ()))]
        self.names = list(options.column_names or first or ())
        if options.column_names and options.has_header and first and len(first) != len(self.names):
            raise DataError(
                f"column_names has {len(self.names)} names for the {len(first)} of the header", path=self.path, record=0
            )
        self._check_names()

    def __iter__(self) -> Iterator[Piece]:
        usual = PIECE_BYTES * min(_MOST_TIMES_LARGER, max(1, len(self.names) // _COLUMNS_OF_A_PIECE))
        size = usual
        while True:
            self._fill(size)
            stop, open_quote, lines, stray = self._cut()
            if stray >= 0:
                fault, stop = self._stray(stray), self._record_start(stray)
                if stop:
                    yield Piece(self._ahead[:stop], self._line)
                raise fault
            if self._fault or (self._ended and open_quote >= 0):
                # The records before it come first, so that whoever reads knows which one it is.
                fault = self._fault or self._unclosed(open_quote)
                if stop:
                    yield Piece(self._ahead[:stop], self._line)
                raise fault
            if self._ended:
                if self._ahead:
                    # pyarrow takes nothing at the very end for quoted where the value before it is.
                    yield Piece(
                        self._ahead if self._ahead.endswith((b"\n", b"\r")) else self._ahead + b"\n", self._line
                    )
                return
            if not stop:  # one record longer than a piece
                if size >= _MOST_BYTES:
                    raise DataError(
                        f"the record that begins at line {self._line} is longer than {_MOST_BYTES >> 20} MiB"
                        + (": is a quote never closed?" if open_quote >= 0 else ""),
                        path=self.path,
                    )
                size *= 2
                continue
            yield Piece(memoryview(self._ahead)[:stop], self._line)
            self._ahead, self._line, size = self._ahead[stop:], self._line + lines, usual

    def _unclosed(self, offset: int) -> DataError:
        line = self._line + (self._ahead.count(b"\n", 0, offset) or self._ahead.count(b"\r", 0, offset))
        return DataError(
            f"the quote that opens at line {line} is never closed: {_shown(self._ahead[offset : offset + 40])}; close it, or "
            "say which character quotes (quote='none': no character does)",
            path=self.path,
        )

    def _stray(self, offset: int, record: int | None = None) -> DataError:
        start = self._record_start(offset)
        line = self._line + (self._ahead.count(b"\n", 0, offset) or self._ahead.count(b"\r", 0, offset))
        quote = self.quote
        return DataError(
            f"text follows the quote that closes a value, at line {line}: {_shown(self._ahead[max(start, offset - 40) : offset + 20])}; "
            f"a quote inside a value is written twice ({quote * 2}), not behind a backslash (or say "
            f"escape='backslash'); where another character than "
            f"{self.delimiter!r} separates the values, give it (delimiter=...); quote='none' takes quotes for text",
            path=self.path,
            record=record,
        )

    def _record_start(self, offset: int) -> int:
        """Where the record begins of a place behind a closing quote."""
        return _native.csv_cut(self._ahead[:offset], self.delimiter, self._quote, False, True)[0]

    def _fill(self, size: int) -> None:
        missing = size - len(self._ahead)
        if missing > 0 and not self._ended and self._fault is None:
            parts, self._ended, self._fault = self._text.read_parts(missing)
            self._ahead = b"".join([self._ahead, *parts])

    def _begin_escapes(self, text: TextStream) -> None:
        """What follows the lines that are left out is rewritten: values with escape characters as quoted ones."""
        self._text = escaped = EscapedText(text, self._options, self.delimiter, self._ahead, self._ended, self._fault)
        self._ahead, self._ended, self._fault = b"", False, None
        self.quote = escaped.written_quote
        self._quote = ord(self.quote)

    def _cut(self, first_only: bool = False) -> tuple[int, int, int, int]:
        return _native.csv_cut(self._ahead, self.delimiter, self._quote, first_only, self._ended)

    def _take_line(self) -> None:
        size = _head_bytes()
        while True:
            self._fill(size)
            stop, _, lines, _ = _native.csv_cut(self._ahead, self.delimiter, -1, True, self._ended)
            if not stop and self._fault:
                raise self._head_fault()
            if stop or self._ended:
                self._ahead, self._line = self._ahead[stop or len(self._ahead) :], self._line + lines
                return
            size *= 2

    def _skip_blank_lines(self) -> None:
        self._fill(_head_bytes())
        while self._ahead[:1] in (b"\n", b"\r"):
            self._take_line()
            self._fill(_head_bytes())

    def _record(self, keep: bool = False) -> bytes:
        """The bytes of the next record; `keep` leaves it where it is."""
        size = _head_bytes()
        while True:
            self._fill(size)
            stop, open_quote, lines, stray = self._cut(first_only=True)
            if not stop and self._fault:
                raise self._head_fault()
            if self._ended and not stop and open_quote >= 0:
                raise self._unclosed(open_quote)
            if stray >= 0:
                raise self._stray(stray, 0)
            if stop or self._ended or size >= _MOST_BYTES:
                break
            size *= 2
        stop = stop or len(self._ahead)
        found = self._ahead[:stop]
        if not keep:
            self._ahead, self._line = self._ahead[stop:], self._line + lines
        return found

    def _head_fault(self) -> DataError:
        assert self._fault is not None
        return DataError(self._fault.message, path=self.path, record=0)

    def _first_row(self) -> list[str]:
        first = self._parsed(self._record())
        if not first:
            raise self._no_text(NoText if self._ended and not self._ahead.strip() else DataError)
        return first

    def _look_at_beginning(self) -> None:
        self._fill(_head_bytes())
        named = self._options.has_header
        blank = None if named else b"\r\n"  # without names a row may be of missing values alone
        if (named or not self._options.column_names) and self._ended and not self._ahead.strip(blank):
            raise self._no_text(NoText)
        if named and not self._options.skip_rows and has_no_names(self._ahead[:HEAD_BYTES], self.delimiter):
            raise DataError(
                f"has no row of column names: {said_of(self._ahead[:HEAD_BYTES])}; if it is CSV all the same, give column_names "
                "or header=False",
                path=self.path,
                record=0,
                offset_bytes=0,
            )

    def _take_separator_line(self) -> None:
        """Takes off a first line `sep=;`, by which Excel is told the delimiter; one that was given by name goes before it."""
        said = None if self._options.skip_rows else _SEPARATOR_LINE.match(self._ahead)
        if said is not None:
            self.delimiter = self._options.delimiter or said[1].decode()
            self._take_line()

    def _no_text(self, kind: type[DataError]) -> DataError:
        return kind("is empty: a CSV file begins with a row of column names", path=self.path, record=0, offset_bytes=0)

    def _parsed(self, record: bytes) -> list[str] | None:
        quoting: Any = csv.QUOTE_MINIMAL if self._quote >= 0 else csv.QUOTE_NONE
        try:
            text = record.decode()
            quote = chr(self._quote) if self._quote >= 0 else None
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter, quotechar=quote, quoting=quoting)
            return next(rows, None)
        except UnicodeDecodeError as error:
            raise not_decodable(self.path, self._options.encoding, error.reason) from error
        except csv.Error as error:
            if "NUL" in str(error) and is_utf8(
                self._options.encoding
            ):  # Python 3.10 stops at text of two bytes a letter
                raise not_decodable(self.path, self._options.encoding, str(error)) from error
            raise DataError(
                f"begins with no row of column names: {error}", path=self.path, record=0, offset_bytes=0
            ) from error

    def _check_names(self) -> None:
        if len(set(self.names)) < len(self.names):
            twice = next(name for at, name in enumerate(self.names) if name in self.names[:at])
            raise DataError(
                f"names column {twice!r} twice in its header; give each a name of its own (column_names, with header=True)",
                path=self.path,
                record=0,
            )


def _head_bytes() -> int:
    """How much is read to find the row of names: it begins the first piece."""
    return min(PIECE_BYTES, 1 << 16)


def _shown(data: bytes) -> str:
    return repr(data.decode(errors="backslashreplace"))
