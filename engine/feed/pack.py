"""Arrow columns to the rows of packed arrays. The record that an error names is counted from the batch's first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine import _native
from engine.core.errors import DataError
from engine.feed.columns import BYTES, FLOAT32, INT64, Column, Layout
from engine.schema.conform import cast_array, first_without_fit
from engine.schema.lists import is_variable_list, row_with_null_inside

__all__ = ["NUMPY_TYPES", "RowPacker", "bytes_rows", "ragged_rows", "values_rows"]

NUMPY_TYPES: dict[str, np.dtype] = {FLOAT32: np.dtype(np.float32), INT64: np.dtype(np.int64)}
_ARROW_TYPES = {FLOAT32: pa.float32(), INT64: pa.int64(), BYTES: pa.large_binary()}
_OFFSETS = (pa.binary(), pa.string(), pa.large_binary(), pa.large_string())  # strings that are taken as they lie


class RowPacker:
    """Writes the dense columns of numbers of batches into rows: all of a batch in one native call, without Python's lock.

    Columns of another type, or with missing values to fill in, are brought into shape by Arrow first, one after the other.

    Args:
        layout: of the packed batch.

    Attributes:
        native: packs what is plain numbers.
    """

    def __init__(self, layout: Layout) -> None:
        dense = [c.kind in NUMPY_TYPES and not c.ragged and c.width > 0 for c in layout.columns]
        numbered = [(place, c) for place, c in enumerate(layout.columns) if dense[place]]
        numbered.sort(key=lambda pair: pair[1].kind)  # errors name the floats' before the integers'
        self._columns = [c for _, c in numbered]
        self.native = _native.RowPacker(
            [(place, c.name, NUMPY_TYPES[c.kind].itemsize, c.start, c.width) for place, c in numbered]
        )

    def pack(self, batch: pa.RecordBatch, outs: Mapping[str, np.ndarray]) -> None:
        """Writes the columns of a batch.

        Args:
            batch: n records with the layout's columns.
            outs: "float32" and "int64" -> [n, layout.width(kind)], where that is not 0; written in full.

        Raises:
            DataError: a missing value without a `fill`, or one that does not fit its column.
        """
        schema, array = batch.__arrow_c_array__()
        for number in self.native.pack(schema, array, list(outs.values())):
            column = self._columns[number]
            values = _flat(batch.column(column.name), column).to_numpy(zero_copy_only=False)
            _native.pack_rows([(values, column.start, column.width)], outs[column.kind])


def bytes_rows(batch: pa.RecordBatch, layout: Layout) -> _native.ByteRows:
    """Returns the dense bytes columns, record after record: n rows of layout.width("bytes") strings."""
    columns = [(_flat(batch.column(c.name), c), c.width) for c in layout.dense(BYTES)]
    return _native.ByteRows.from_columns([(*_offsets(array), width) for array, width in columns], batch.num_rows)


def values_rows(array: pa.Array) -> _native.ByteRows:
    """Returns binary values without nulls as rows of one string each."""
    return _native.ByteRows.from_columns([(*_offsets(array), 1)], len(array))


def _offsets(array: pa.Array) -> tuple[np.ndarray, Any]:
    """Returns (offsets int32 or int64 [n + 1], data) of binary or string values, no byte of them copied."""
    wide = pa.types.is_large_binary(array.type) or pa.types.is_large_string(array.type)
    _, offsets, data = array.buffers()
    item = np.dtype(np.int64 if wide else np.int32)
    if not len(array):  # Arrow allows an empty array to have no offsets at all
        return np.zeros(1, item), b""
    return np.frombuffer(offsets, item, len(array) + 1, array.offset * item.itemsize), b"" if data is None else data


def ragged_rows(batch: pa.RecordBatch, column: Column) -> pa.Array:
    """Returns a ragged column as large_list of the column's kind, [n]; a missing value is an empty list."""
    array = batch.column(column.name)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    wanted = pa.large_list(_ARROW_TYPES[column.kind])
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))  # of which the missing ones have no values
    if is_variable_list(array.type):
        lists = pc.fill_null(_cast(array, wanted, column), pa.scalar([], wanted))
        _refuse_nulls_within(lists, column)
        return lists
    present = array.is_valid().to_numpy(zero_copy_only=False)
    splits: np.ndarray = np.zeros(len(array) + 1, np.int64)
    np.cumsum(present, out=splits[1:])
    return pa.LargeListArray.from_arrays(splits, _cast(array.drop_null(), wanted.value_type, column))


def _flat(array: pa.Array, column: Column) -> pa.Array:
    if array.type == _ARROW_TYPES[column.kind] and not array.null_count:
        return array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_fixed_size_list(array.type):
        if array.null_count and column.fill is not None:
            fill = column.fill if isinstance(column.fill, list) else [column.fill] * column.width
            array = pc.fill_null(array, pa.scalar(fill, array.type))
        _refuse_nulls(array, column)
        array = array.flatten()
    if array.null_count and column.fill is not None:
        fill = column.fill[0] if isinstance(column.fill, list) and len(column.fill) == 1 else column.fill
        array = pc.fill_null(array, pa.scalar(fill, array.type))
    _refuse_nulls(array, column)
    return array if array.type in _OFFSETS else _cast(array, _ARROW_TYPES[column.kind], column)


def _refuse_nulls(array: pa.Array, column: Column) -> None:
    if array.null_count:
        place = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(
            f"column {column.name!r} has a missing value though the schema says that none is: "
            f"give the feed fill={{{column.name!r}: value}}, or declare the column nullable",
            record=_record(place, array, column),
        )


def _refuse_nulls_within(lists: pa.LargeListArray, column: Column) -> None:
    row = row_with_null_inside(lists)
    if row is not None:
        raise DataError(
            f"column {column.name!r} holds a null inside a list, which no tensor can: "
            "drop such values or fill them in where the data are made",
            record=row,
        )


def _cast(array: pa.Array, wanted: pa.DataType, column: Column) -> pa.Array:
    if array.type == wanted:
        return array
    try:
        return cast_array(array, wanted)
    except pa.ArrowInvalid as error:
        place = first_without_fit(array, lambda part: cast_array(part, wanted))
        raise DataError(
            f"column {column.name!r} of type {array.type} does not fit {wanted}: {error}",
            record=_record(place, array, column),
        ) from error


def _record(place: int, array: pa.Array, column: Column) -> int:
    """The record of an element: of several values a record, flattened, each is one."""
    return place if pa.types.is_nested(array.type) else place // column.width
