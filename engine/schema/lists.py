"""Which Arrow types are lists: one answer for all that read, write, feed and serve them."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["is_list", "is_variable_list"]


def is_list(data_type: pa.DataType) -> bool:
    """Returns whether a type is a list of any kind: of variable length, with 32 or 64 bit offsets, or of a fixed size."""
    return is_variable_list(data_type) or pa.types.is_fixed_size_list(data_type)


def is_variable_list(data_type: pa.DataType) -> bool:
    """Returns whether a type is a list whose rows have lengths of their own."""
    return bool(pa.types.is_list(data_type) or pa.types.is_large_list(data_type))
