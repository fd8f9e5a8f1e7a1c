"""What the texts of one column of one piece of CSV are: numbers, read natively and all at once, or text."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine import _native

__all__ = ["CellKind", "Cells", "read_cells"]


class CellKind(enum.IntEnum):
    """Kinds in the order of what takes in what: a column is of the largest that any of its values has."""

    EMPTY = 0  # no value, or none but markers such as NA
    INT = 1
    BIG = 2  # whole numbers, some beyond 64 bits: no double tells neighbours apart
    FLOAT = 3
    TEXT = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cells:
    """One column of one piece.

    Args:
        kind: of its values; None where it was not looked at, and is text.
        array: int64 of INT, double of FLOAT, else the texts.
        as_written: of INT: its numbers' digits are the texts.
        facts: what `engine._native.csv_numbers` counted, and rows of the first text, first padded number, and so on.
        odd: the same keys with the text of that row.
        text_nulls: rows without a value.
    """

    kind: CellKind | None
    array: pa.Array
    as_written: bool
    facts: dict[str, Any]
    odd: dict[str, str]
    text_nulls: int


_FIRSTS = ("first_text", "first_padded", "first_big", "first_overflow", "first_inexact", "first_not_int")


def read_cells(texts: pa.Array, declared: str | None, markers: frozenset[str], look: bool = True) -> Cells:
    """Returns the cells of a string array.

    Args:
        texts: one column of one piece; null where a value is missing.
        declared: the column's declared type, or None to find one.
        markers: texts that mean "missing" among numbers.
        look: False where the column is known to be text.
    """
    if declared == "string" or (declared is None and not look):
        return Cells(kind=None, array=texts, as_written=True, facts={}, odd={}, text_nulls=texts.null_count)
    _, capsule = texts.__arrow_c_array__()
    facts = _native.csv_numbers(capsule, markers, declared == "float32")
    kind = CellKind(facts["kind"])
    array = _numbers(facts, len(texts)) if kind in (CellKind.INT, CellKind.FLOAT) else texts
    if declared == "float32":
        array = _float32(array, facts)
    odd = {key: texts[facts[key]].as_py() for key in _FIRSTS if facts[key] >= 0}
    return Cells(
        kind=kind,
        array=array,
        as_written=facts["as_written"] and kind is CellKind.INT,
        facts=facts,
        odd=odd,
        text_nulls=texts.null_count,
    )


def _numbers(facts: dict[str, Any], rows: int) -> pa.Array:
    kind = pa.int64() if facts["kind"] == CellKind.INT else pa.float64()
    validity = None if facts["validity"] is None else pa.py_buffer(facts.pop("validity"))
    return pa.Array.from_buffers(kind, rows, [validity, pa.py_buffer(facts.pop("values"))], facts["nulls"])


def _float32(array: pa.Array, facts: dict[str, Any]) -> pa.Array:
    """Narrows doubles; notes the first that is beyond float32 as an overflow. Texts and empty columns stay as they are."""
    if array.type != pa.float64():
        return array
    narrow = array.cast(pa.float32(), safe=False)
    beyond = pc.and_(pc.is_inf(narrow), pc.is_finite(array))
    row = pc.index(pc.fill_null(beyond, False), True).as_py()
    if row >= 0 and not 0 <= facts["first_overflow"] < row:
        facts["first_overflow"] = row
    return narrow
