"""Rows of a batch grouped by the values of some columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError
from engine.schema.lists import is_list

__all__ = ["segments_of"]


def segments_of(batch: pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """Yields (values, row numbers) of each combination of values that occurs; each row belongs to one.

    Args:
        batch: n rows.
        columns: names. A missing value is None; a list column may have one value a row.
    """
    codes = np.zeros(batch.num_rows, np.int64)
    dictionaries = []
    for name in columns:
        own, values = _codes(batch.column(name), name)
        codes = codes * len(values) + own
        _, codes = np.unique(codes, return_inverse=True)  # stays small, however many columns are crossed
        dictionaries.append((own, values))
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(order)]):
        rows = order[start:stop]
        yield tuple(values[own[rows[0]]] for own, values in dictionaries), rows


def _codes(column: pa.Array, name: str) -> tuple[np.ndarray, list[Any]]:
    """Returns the code of each row and the value of each code; the last code is the missing value."""
    if is_list(column.type):
        column = _first(column, name)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = [_text(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [*values, None]


def _first(column: pa.Array, name: str) -> pa.Array:
    import pyarrow.compute as pc

    longest = pc.max(pc.list_value_length(column)).as_py() or 0
    if longest > 1:
        raise ConfigError(f"slices: column {name!r} has up to {longest} values a row; segments need one")
    if longest == 0:
        return pa.nulls(len(column), column.type.value_type)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    places = np.where(lengths > 0, np.cumsum(lengths) - lengths, 0)
    return column.flatten().take(pa.array(places, mask=lengths == 0))


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
