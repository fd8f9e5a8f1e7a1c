"""Columns of Arrow batches as flat values, without TensorFlow."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from engine.core.errors import DataError
from engine.schema.lists import is_list

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


def flat_values(column: pa.Array, name: str) -> pa.Array:
    """Returns the values of a column as one flat array without nulls: lists of any depth are flattened.

    Args:
        column: of values, where null is a missing one, or of lists.
        name: of the column, for the error.

    Raises:
        DataError: a list holds a null, which no tensor can: left out, every value behind it would move.
    """
    given = column
    while is_list(column.type):
        column = column.flatten()
    if not column.null_count:
        return column
    if column is not given:
        raise DataError(
            f"column {name!r} holds a null inside a list, which no tensor can: drop such values or fill them in where the data "
            "are made"
        )
    return column.drop_null()
