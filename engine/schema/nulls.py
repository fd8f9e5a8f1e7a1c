"""Nulls inside lists: Arrow has them, a feature and a tensor have no place for one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["row_with_null_inside"]


def row_with_null_inside(lists: pa.Array) -> int | None:
    """Returns the first row whose list holds a null, or None where none does. A row that is null holds none.

    A list of no fixed size inside a list may be null: it is one without a value, and reads as an empty one.

    Args:
        lists: lists of values, or of lists of values.
    """
    values = lists.flatten()
    if not pa.types.is_nested(values.type):
        return _first(lists, lambda row: None in row) if values.null_count else None
    loose = not pa.types.is_fixed_size_list(values.type)
    if not values.flatten().null_count and (loose or not values.null_count):
        return None
    return _first(lists, lambda row: any(not loose if inner is None else None in inner for inner in row))


def _first(lists: pa.Array, holds: Any) -> int:
    return next(row for row, value in enumerate(lists.to_pylist()) if value is not None and holds(value))
