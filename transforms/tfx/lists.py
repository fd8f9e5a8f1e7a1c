"""Arrow batches as tfx_bsl has them: each column a list of the row's values."""

from __future__ import annotations

import pyarrow as pa

from engine.schema.kinds import is_text_or_bytes
from engine.schema.lists import is_list, value_lengths

__all__ = ["as_lists"]


def as_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns a batch in the shape that TFDV takes and TFX's Parquet files have: lists, null where the feature is missing."""
    arrays = [_as_list(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _as_list(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    rows, lengths = len(column), None
    valid = column.is_valid()
    while is_list(column.type):
        inner = pa.array(value_lengths(column))
        lengths = inner if lengths is None else _sum_by(inner, lengths)
        column = column.flatten()
    if lengths is None:
        lengths = valid.cast(pa.int64())
        column = column.drop_null()
    offsets = (
        pa.concat_arrays([pa.array([0], pa.int64()), pa.compute.cumulative_sum(lengths)])
        if rows
        else pa.array([0], pa.int64())
    )
    return pa.LargeListArray.from_arrays(offsets, _primitive(column), mask=pa.compute.invert(valid))


def _sum_by(inner: pa.Array, lengths: pa.Array) -> pa.Array:
    """Returns how many innermost values a row has, of the lengths of its lists and how many lists it has."""
    import numpy as np

    ends = np.concatenate([[0], np.cumsum(inner.to_numpy(zero_copy_only=False))])
    at = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))])
    return pa.array(np.diff(ends[at]))


def _primitive(values: pa.Array) -> pa.Array:
    if is_text_or_bytes(values.type):
        return values.cast(pa.large_binary())
    return values.cast(pa.int64()) if pa.types.is_boolean(values.type) else values
