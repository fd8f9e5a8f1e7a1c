"""Which Arrow types are lists: one answer for all that read, write, feed and serve them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

__all__ = ["is_list", "is_variable_list", "valid_rows", "value_lengths"]


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
    if is_variable_list(column.type):
        lengths = np.diff(column.offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
        # What lies behind a null is no value, and writers may leave something there.
        return np.where(valid_rows(column), lengths, 0) if column.null_count else lengths
    size = column.type.list_size if pa.types.is_fixed_size_list(column.type) else 1
    return valid_rows(column).astype(np.int64) * int(size)
