"""Which cell of a CSV column does not fit a type: the text that turned a column of numbers into text, found and named."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["OddCell", "TextWatch", "first_misfit", "shown"]

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_SHOWN = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class OddCell:
    """The first value that is no number in a CSV column whose values mostly are.

    Attributes:
        path: the file.
        column: its name.
        record: index of the row, the first below the header being 0.
        value: the text.
        texts: values of the column that are no numbers.
        values: values of the column in all.
    """

    path: str
    column: str
    record: int
    value: str
    texts: int
    values: int

    def __str__(self) -> str:
        return (
            f"column {self.column!r} is text: {self.texts:,} of {self.values:,} values {'is' if self.texts == 1 else 'are'} "
            f"no number{'' if self.texts == 1 else 's'}, the first {shown(self.value)} in {self.path}, record {self.record}"
        )


class TextWatch:
    """Watches a column from the batch on that made it text, as long as most of its values are numbers.

    Args:
        path: the file.
        column: its name.
        numbers: values before that batch, all of them numbers.
    """

    def __init__(self, path: str, column: str, numbers: int) -> None:
        self._path, self._column, self._values, self._numbers = path, column, numbers, numbers
        self._first: tuple[int, str] | None = None

    def add(self, column: pa.Array, first_record: int) -> bool:
        """Counts a batch; returns whether most values so far are numbers (if not, there is nothing more to watch)."""
        if self._first is None:
            index = first_misfit(column, pa.float64())
            self._first = (first_record + index, column[index].as_py()) if index is not None else None
        self._values += len(column) - column.null_count
        self._numbers += pc.sum(pc.match_substring_regex(column, _NUMBER)).as_py() or 0
        return 2 * self._numbers > self._values

    def result(self) -> OddCell | None:
        """Returns the cell, or None where no value stood out."""
        if self._first is None:
            return None
        record, value = self._first
        return OddCell(
            path=self._path,
            column=self._column,
            record=record,
            value=value,
            texts=max(self._values - self._numbers, 1),
            values=self._values,
        )


def first_misfit(column: pa.Array, data_type: pa.DataType) -> int | None:
    """Returns the index of the first text that cannot be cast to the type, or None where all can."""
    if _fits(column, data_type):
        return None
    start, length = 0, len(column)
    while length > 1:
        half = length // 2
        if _fits(column.slice(start, half), data_type):
            start, length = start + half, length - half
        else:
            length = half
    return start


def shown(value: str) -> str:
    """Returns the value in quotes, cut where it is long."""
    return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")


def _fits(column: pa.Array, data_type: pa.DataType) -> bool:
    try:
        column.cast(data_type)
    except pa.ArrowInvalid:
        return False
    return True
