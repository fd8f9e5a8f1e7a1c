"""The type of a CSV column, decided over all its values in all files, and what its reader should know of them."""

from __future__ import annotations

import dataclasses
import re

import pyarrow as pa

from engine.core.errors import DataError
from engine.formats.csv.bad_cell import OddCell, shown
from engine.formats.csv.cells import CellKind, Cells, read_cells

__all__ = ["Column"]

_TYPES = {
    CellKind.EMPTY: pa.string(),
    CellKind.INT: pa.int64(),
    CellKind.BIG: pa.string(),
    CellKind.FLOAT: pa.float64(),
    CellKind.TEXT: pa.string(),
}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(\.\d{3})*,\d+")
_DECLARED = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}


@dataclasses.dataclass(frozen=True)
class _Place:
    path: str
    record: int
    value: str

    def __str__(self) -> str:
        return f"{shown(self.value)} in {self.path}, record {self.record}"


class Column:
    """What the pieces of all files say about a column, in their order.

    Args:
        name: of the column.
        declared: "int64", "float32", "string" or None.
        markers: texts that mean "missing" among numbers.
    """

    def __init__(self, name: str, declared: str | None, markers: frozenset[str]) -> None:
        self.name, self.declared, self._markers = name, declared, markers
        self.kind = CellKind.EMPTY
        self._numbers = self._texts = self._padded = 0
        self._text_nulls = self._number_nulls = 0
        self._first: dict[str, _Place] = {}

    @property
    def settled(self) -> bool:
        """Whether the column is text and its values are not mostly numbers: there is nothing more to find out."""
        return self.declared is None and self.kind is CellKind.TEXT and self._texts > self._numbers

    def add(self, cells: Cells, path: str, first_record: int) -> None:
        """Adds a piece.

        Raises:
            DataError: a value that is not of the declared type.
        """
        self._text_nulls += cells.text_nulls
        if cells.kind is None:
            self.kind = CellKind.TEXT
            return
        if self.declared is not None:
            self._check(cells, path, first_record)
        self.kind = max(self.kind, cells.kind)
        self._numbers += cells.numbers
        self._texts += cells.texts
        self._padded += cells.padded
        self._number_nulls += cells.nulls
        for key, value in cells.odd.items():
            self._first.setdefault(key, _Place(path, first_record + cells.firsts[key], value))

    def _check(self, cells: Cells, path: str, first_record: int) -> None:
        keys = ("first_not_int",) if self.declared == "int64" else ("first_text", "first_overflow")
        rows = [cells.firsts[key] for key in keys if key in cells.firsts]
        if rows:
            value = next(text for key, text in cells.odd.items() if cells.firsts[key] == min(rows))
            what = f"column {self.name!r} holds {shown(value)} here; its declared type is {self.declared}"
            beyond = self.declared == "float32" and min(rows) == cells.firsts.get("first_overflow")
            raise DataError(
                what + (", which ends at 3.4e38" if beyond else ""), path=path, record=first_record + min(rows)
            )

    def field(self) -> pa.Field:
        """Returns the column's field; it is nullable where a value is missing.

        Raises:
            DataError: a column of numbers that holds one beyond what a double can.
        """
        kind = _DECLARED[self.declared] if self.declared else _TYPES[self.kind]
        if self.declared is None and self.kind is CellKind.FLOAT and "first_overflow" in self._first:
            place = self._first["first_overflow"]
            raise DataError(
                f"column {self.name!r} holds {shown(place.value)} here, which is beyond the range of double; declare the type "
                "string to keep it as text",
                path=place.path,
                record=place.record,
            )
        nulls = self._text_nulls if kind == pa.string() else self._number_nulls
        return pa.field(self.name, kind, nullable=bool(nulls))

    def fitted(self, cells: pa.Array, as_written: bool, kind: pa.DataType) -> pa.Array | None:
        """Returns a piece's array, as `read_cells` gave it, as the column's type; None where only the file has the texts."""
        if cells.type == kind:
            return cells
        if kind == pa.string():
            return cells.cast(kind) if cells.type == pa.int64() and as_written else None
        if cells.type == pa.string():  # no value, or whole numbers beyond 64 bits in a column of doubles
            found = read_cells(cells, "float32" if kind == pa.float32() else None, self._markers)
            if found.kind is CellKind.EMPTY:
                return pa.nulls(len(cells), kind)
            if found.kind is CellKind.BIG:
                from_texts = read_cells(pa.concat_arrays([cells, pa.array(["0.5"])]), None, self._markers)
                return from_texts.array.slice(0, len(cells))
            return self.fitted(found.array, False, kind)
        return cells.cast(kind, safe=False)

    def notes(self) -> list[str]:
        """Returns what a reader should know: a text among numbers, digits that the type does not keep."""
        if self.declared is not None:
            return []
        if self.kind is CellKind.TEXT:
            place = self._first.get("first_text")
            if place is not None and _DECIMAL_COMMA.fullmatch(place.value):
                return [
                    f"column {self.name!r} is text: its first value that is no number, {place}, has a comma where numbers that are read "
                    "have a point"
                ]
            if place is None or self._texts >= self._numbers:
                return []
            values = self._numbers + self._texts
            return [
                str(
                    OddCell(
                        path=place.path, column=self.name, record=place.record, value=place.value,
                        texts=self._texts, values=values,
                    )
                )
            ]  # fmt: skip
        found = []
        if self.kind is CellKind.BIG:
            found.append(
                f"column {self.name!r} is text: its whole numbers do not fit 64 bits, the first {self._first['first_big']}"
            )
        if self.kind is CellKind.FLOAT and "first_inexact" in self._first:
            found.append(
                f"column {self.name!r} holds whole numbers that a double rounds, the first {self._first['first_inexact']}; the "
                "type string keeps them"
            )
        if self.kind in (CellKind.INT, CellKind.FLOAT) and self._padded:
            found.append(
                f"column {self.name!r} is of numbers, and {self._padded:,} of its values begin{'s' * (self._padded == 1)} with 0, "
                f"the first {self._first['first_padded']}; the type string keeps them as they are written"
            )
        return found
