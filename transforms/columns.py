"""Columns of Arrow batches as flat values, without TensorFlow."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

__all__ = ["ColumnInput", "flat_values"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnInput:
    """A column that reaches an accumulator untouched.

    Attributes:
        feature: its name.
        cast: numpy dtype that the graph casts it to, or None.
    """

    feature: str
    cast: str | None = None


def flat_values(column: pa.Array) -> pa.Array:
    """Returns the values of a column as one flat array without nulls: lists of any depth are flattened."""
    while (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        column = column.flatten()
    return column.drop_null() if column.null_count else column
