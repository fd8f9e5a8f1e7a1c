"""Integers of JSON that its reader made doubles of which are other numbers: those that int64 does not hold, or beside fractions."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["rounded_column"]

_LONG_INTEGER = re.compile(rb"[:\[,\s]-?\d{16,}\s*[,}\]]")
_SPACE = re.compile(r"\s*")
_NO_NUMBER = re.compile(rb"(?<=[:\[,\s])-?(?:Infinity|Inf|NaN)\b")  # the reader takes them, json only some
_MOST_DIGITS = 300
_EXACT = 2.0**53  # beyond, a double is not every integer
_ROUNDED = object()


def rounded_column(table: pa.Table, text: bytes) -> str | None:
    """Returns the first column with a double that was another integer in the text, or None where there is none.

    Only where a double is so large, and some integer of the text so long, is the text parsed again.

    Args:
        table: what the reader made of the text.
        text: objects of JSON, one after the other.
    """
    doubtful = [field for field, column in zip(table.schema, table.columns) if _has_large_double(column)]
    if not doubtful or not _LONG_INTEGER.search(text):
        return None
    decoder = json.JSONDecoder(parse_int=_integer)
    plain = _NO_NUMBER.sub(b"0", text).decode()
    at = _after_space(plain, 0)
    while at < len(plain):
        try:
            found, at = decoder.raw_decode(plain, at)
        except ValueError:  # the reader took it; what cannot be looked at is not called exact
            return str(doubtful[0].name)
        for field in doubtful:
            if _is_rounded(found.get(field.name), field.type):
                return str(field.name)
        at = _after_space(plain, at)
    return None


def _has_large_double(column: Any) -> bool:
    """Whether a column, or a list or struct, has a double so large that integers were rounded to it."""
    if isinstance(column, pa.ChunkedArray):
        return any(_has_large_double(chunk) for chunk in column.chunks)
    if pa.types.is_list(column.type) or pa.types.is_struct(column.type):
        inner = [column.flatten()] if pa.types.is_list(column.type) else column.flatten()
        return any(_has_large_double(each) for each in inner)
    if not pa.types.is_float64(column.type):
        return False
    largest = pc.max(pc.abs(pc.if_else(pc.is_nan(column), 0.0, column))).as_py()  # an integer of 400 digits is infinite
    return bool(largest is not None and largest >= _EXACT)


def _integer(digits: str) -> Any:
    if len(digits) < 16:
        return 0
    return _ROUNDED if len(digits) > _MOST_DIGITS or int(float(digits)) != int(digits) else 0


def _is_rounded(value: Any, kind: pa.DataType) -> bool:
    """Whether a value of JSON has a rounded integer where its type has a double."""
    if pa.types.is_float64(kind):
        return value is _ROUNDED
    if pa.types.is_list(kind) and isinstance(value, list):
        return any(_is_rounded(each, kind.value_type) for each in value)
    if pa.types.is_struct(kind) and isinstance(value, dict):
        return any(_is_rounded(value.get(field.name), field.type) for field in kind)
    return False


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
