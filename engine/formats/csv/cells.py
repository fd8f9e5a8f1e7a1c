"""What the texts of a piece of CSV are: numbers, read natively and all columns at once, or text."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from engine import _native

__all__ = ["CellKind", "Cells", "read_cells", "read_columns"]


class CellKind(enum.IntEnum):
    """Kinds in the order of what takes in what: a column is of the largest that any of its values has."""

    EMPTY = 0  # no value, or none but markers such as NA
    INT = 1
    BIG = 2  # whole numbers, some beyond 64 bits: no double tells neighbours apart
    FLOAT = 3
    TEXT = 4


class Cells(NamedTuple):
    """One column of one piece. There are thousands of them: nothing lighter than a tuple would do.

    Args:
        kind: of its values; None where it was not looked at, and is text.
        array: int64 of INT, double of FLOAT, else the texts.
        as_written: of INT: its numbers' digits are the texts.
        numbers: values that are numbers.
        texts: values that are none.
        padded: numbers that begin with a 0 that they do not need.
        nulls: rows without a number, of INT and FLOAT.
        firsts: row of the first text, first padded number, and so on, of what there is.
        odd: the same keys with the text of that row.
        text_nulls: rows without a value.
    """

    kind: CellKind | None
    array: pa.Array
    as_written: bool
    numbers: int
    texts: int
    padded: int
    nulls: int
    firsts: Mapping[str, int]
    odd: Mapping[str, str]
    text_nulls: int


_FIRSTS = ("first_text", "first_padded", "first_big", "first_overflow", "first_inexact", "first_not_int")
_NOTHING_ODD: tuple[Mapping[str, int], Mapping[str, str]] = ({}, {})
_KINDS = tuple(CellKind)
_SKIP, _LOOK, _LOOK_FOR_FLOATS = 0, 1, 2


def read_columns(
    texts: pa.RecordBatch, declared: Sequence[str | None], markers: frozenset[str], look: Sequence[bool]
) -> list[Cells]:
    """Returns the cells of every column of a piece, by one call for all of them.

    Args:
        texts: string columns; null where a value is missing.
        declared: the type of each column as it was declared, or None to find one.
        markers: texts that mean "missing" among numbers.
        look: False where a column is known to be text.
    """
    looks = [_look(kind, wanted) for kind, wanted in zip(declared, look)]
    _, capsule = texts.__arrow_c_array__()
    values, validity, found = _native.csv_numbers(capsule, looks, markers)
    numbers, bits, rows = pa.py_buffer(values), pa.py_buffer(validity), texts.num_rows
    cells = []
    for column, kind, facts in zip(texts.columns, declared, found):
        if facts is None:
            cells.append(Cells(None, column, True, 0, 0, 0, 0, *_NOTHING_ODD, column.null_count))
            continue
        code, values_at, validity_at, nulls, count, others, padded, as_written, first = facts
        array = column
        if values_at >= 0:
            mask = bits.slice(validity_at, (rows + 7) // 8) if validity_at >= 0 else None
            stored = pa.int64() if code == CellKind.INT else pa.float64()
            array = pa.Array.from_buffers(stored, rows, [mask, numbers.slice(values_at, rows * 8)], nulls)
        firsts = {} if first is None else {key: row for key, row in zip(_FIRSTS, first) if row >= 0}
        if kind == "float32":
            array = _float32(array, firsts)
        odd = {key: column[row].as_py() for key, row in firsts.items()}
        exact = as_written and code == CellKind.INT
        cells.append(Cells(_KINDS[code], array, exact, count, others, padded, nulls, firsts, odd, column.null_count))
    return cells


def read_cells(texts: pa.Array, declared: str | None, markers: frozenset[str]) -> Cells:
    """Returns the cells of one column: see `read_columns`."""
    batch = pa.RecordBatch.from_arrays([texts], names=[""])
    return read_columns(batch, [declared], markers, [True])[0]


def _look(declared: str | None, wanted: bool) -> int:
    if declared == "string" or (declared is None and not wanted):
        return _SKIP
    return _LOOK_FOR_FLOATS if declared == "float32" else _LOOK


def _float32(array: pa.Array, firsts: dict[str, int]) -> pa.Array:
    """Narrows doubles; notes the first that is beyond float32 as an overflow. Texts and empty columns stay as they are."""
    if array.type != pa.float64():
        return array
    narrow = array.cast(pa.float32(), safe=False)
    beyond = pc.and_(pc.is_inf(narrow), pc.is_finite(array))
    row = pc.index(pc.fill_null(beyond, False), True).as_py()
    if row >= 0 and not 0 <= firsts.get("first_overflow", -1) < row:
        firsts["first_overflow"] = row
    return narrow
