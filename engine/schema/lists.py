"""Lists in Arrow: which types they are, how long their rows, and nulls in them, for which a tensor has no place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["is_list", "is_variable_list", "row_with_null_inside", "valid_rows", "value_lengths"]


def is_list(data_type: pa.DataType) -> bool:
    """Returns whether a type is a list of any kind: of variable length, with 32 or 64 bit offsets, or of a fixed size."""
    return is_variable_list(data_type) or pa.types.is_fixed_size_list(data_type)


def is_variable_list(data_type: pa.DataType) -> bool:
    """Returns whether a type is a list whose rows have lengths of their own."""
    return bool(pa.types.is_list(data_type) or pa.types.is_large_list(data_type))


def valid_rows(column: pa.Array) -> np.ndarray:
    """Returns which rows of a column have a value, bool [n]."""
    valid: np.ndarray = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def value_lengths(column: pa.Array) -> np.ndarray:
    """Returns the number of values of each row, int64 [n]: of a list its length, 0 where it is missing; else 1 or 0."""
    types = pa.types
    if types.is_list_view(column.type) or types.is_large_list_view(column.type):  # whose offsets need not ascend
        found: np.ndarray = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        return found.astype(np.int64)
    if is_variable_list(column.type):
        lengths = np.diff(column.offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
        # What lies behind a null is no value, and writers may leave something there.
        return np.where(valid_rows(column), lengths, 0) if column.null_count else lengths
    size = column.type.list_size if pa.types.is_fixed_size_list(column.type) else 1
    return valid_rows(column).astype(np.int64) * int(size)


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
