"""Rows of a batch grouped by the values of some columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError
from engine.core.text_encoding import as_text
from engine.schema.lists import is_list, value_lengths

__all__ = ["MOST_SEGMENTS", "SegmentCodes", "encoded_values", "one_a_row", "one_value"]

MOST_SEGMENTS = 1_000_000  # of one kind while they are counted


class SegmentCodes:
    """Numbers the combinations of values of some columns, in the order in which they occur.

    Args:
        columns: names; without any, all rows are one segment.
    """

    def __init__(self, columns: Sequence[str] = ()) -> None:
        self.columns = tuple(columns)
        self.rows: list[int] = []
        self._codes: dict[tuple[Any, ...], int] = {}

    @property
    def values(self) -> list[tuple[Any, ...]]:
        """The values of each segment, by its number; None is the missing value."""
        return list(self._codes)

    def of(self, batch: pa.RecordBatch) -> np.ndarray:
        """Returns int64 [n], the segment of each row, and counts the rows.

        Args:
            batch: n rows. A list column may have one value a row. NaN is a missing value.

        Raises:
            ConfigError: a column with several values a row, or too many segments.
        """
        codes = np.zeros(batch.num_rows, np.int64)
        dictionaries: list[tuple[np.ndarray, list[Any]]] = []
        for name in self.columns:
            own, values = _codes(batch.column(name), name)
            if dictionaries:
                _, codes = np.unique(codes, return_inverse=True)  # stays small, however many columns are crossed
            codes = codes * len(values) + own
            dictionaries.append((own, values))
        _, first, inverse, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
        numbers: np.ndarray = np.empty(len(first), np.int64)
        for place, (row, count) in enumerate(zip(first.tolist(), counts.tolist())):
            numbers[place] = self.add(tuple(values[own[row]] for own, values in dictionaries), count)
        return numbers[inverse]

    def add(self, values: tuple[Any, ...], rows: int) -> int:
        """Adds rows to a segment and returns its number.

        Raises:
            ConfigError: there are more segments than anybody can read.
        """
        code = self._codes.setdefault(values, len(self._codes))
        if code == len(self.rows):
            if code >= MOST_SEGMENTS:
                raise ConfigError(
                    f"slices: {', '.join(self.columns)} makes more than {MOST_SEGMENTS:,} segments; give numeric columns "
                    "buckets, or leave out what is different in nearly every row"
                )
            self.rows.append(0)
        self.rows[code] += rows
        return code

    def merge(self, other: SegmentCodes) -> np.ndarray:
        """Adds the other's rows, and returns the number here of each of its segments."""
        found = [self.add(values, rows) for values, rows in zip(other.values, other.rows)]
        return np.array(found, np.int64)


def one_value(column: pa.Array, name: str) -> pa.Array:
    """Returns a column of one value a row, null where a list is empty.

    Raises:
        ConfigError: a row has several.
    """
    if isinstance(column, pa.ExtensionArray):  # a UUID, for one: its bytes
        column = column.storage
    if pa.types.is_nested(column.type) and (not is_list(column.type) or pa.types.is_nested(column.type.value_type)):
        raise ConfigError(f"slices: column {name!r} is {column.type}; segments need one value a row")
    if pa.types.is_dictionary(column.type) or not is_list(column.type):
        return column
    lengths = value_lengths(column)
    longest = int(lengths.max(initial=0))
    if longest > 1:
        raise ConfigError(f"slices: column {name!r} has up to {longest} values a row; segments need one")
    if longest == 0:
        return pa.nulls(len(column), column.type.value_type)
    places = np.where(lengths > 0, np.cumsum(lengths) - lengths, 0)
    return column.flatten().take(pa.array(places, mask=lengths == 0))


def one_a_row(values: np.ndarray, name: str) -> pa.Array:
    """Returns a transformed feature [n, ...] as a column of one value a row.

    Raises:
        ConfigError: it has several.
    """
    flat = values.reshape(len(values), -1)
    if flat.shape[1] != 1:
        raise ConfigError(f"slices: transformed feature {name!r} has {flat.shape[1]} values a row; segments need one")
    return pa.array(flat[:, 0].tolist() if values.dtype == object else flat[:, 0])


def encoded_values(column: pa.Array, name: str) -> pa.DictionaryArray:
    """Returns a column of one value a row as codes and their values.

    Raises:
        ConfigError: a row has several.
    """
    column = one_value(column, name)
    if pa.types.is_dictionary(column.type):
        return column
    if pa.types.is_float16(column.type):  # which Arrow cannot encode
        column = column.cast(pa.float32())
    if column.type == pa.time64("ns"):  # Python's times end at microseconds: different ones would be one
        column = column.cast(pa.string())
    try:
        return column.dictionary_encode()
    except pa.ArrowNotImplementedError:  # runs of values, for one
        raise ConfigError(
            f"slices: column {name!r} is {column.type}, which makes no segments; write it as another type"
        ) from None


def _codes(column: pa.Array, name: str) -> tuple[np.ndarray, list[Any]]:
    """Returns the code of each row and the value of each code; the last code is the missing value."""
    encoded = encoded_values(column, name)
    values = [_plain(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    missing = np.array([value is None for value in [*values, None]])
    return np.where(missing[codes], len(values), codes), [*values, None]


def _plain(value: Any) -> Any:
    """A value of JSON: bytes as text, and what JSON has no form for, dates for one, as its text."""
    if isinstance(value, (bytes, str)):
        return as_text(value)  # different bytes stay different segments
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0  # 0.0 and -0.0 are one segment, of the first name
    return value if value is None or isinstance(value, (int, float, bool)) else str(value)
