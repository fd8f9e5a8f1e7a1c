"""Arrow batches as the arrays that TensorFlow's placeholders take, without TensorFlow.

A feature has one or more components, in the order in which TensorFlow flattens its tensor: dense: the values; sparse:
indices, values, dense shape; ragged: flat values, then the row splits of each level.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.schema.lists import is_variable_list, value_lengths
from transforms.batches.columns import flat_values
from transforms.batches.graph_strings import Strings, as_strings

__all__ = ["FeatureLayout", "components", "dense_values"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureLayout:
    """How a feature is laid out in a batch.

    Attributes:
        name: of the feature.
        kind: "dense", "sparse" (VarLenFeature), "coordinates" (SparseFeature) or "ragged".
        dtype: numpy dtype name, "object" for strings.
        shape: of one record's dense value; of coordinates: the size of each index.
        splits_dtype: dtype name of row splits of a ragged feature.
        column: name of the column of values, where it is another than the feature's.
        index_columns: columns of coordinates.
        partitions: inner row partitions of a ragged feature: columns of row lengths, then uniform lengths.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...] = ()
    splits_dtype: str = "int64"
    column: str | None = None
    index_columns: tuple[str, ...] = ()
    partitions: tuple[str | int, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns that the feature is read from."""
        lengths = tuple(each for each in self.partitions if isinstance(each, str))
        return (self.column or self.name, *self.index_columns, *lengths)


def components(batch: pa.RecordBatch, layout: FeatureLayout) -> list[np.ndarray | Strings]:
    """Returns the component arrays of a feature in a batch; those of strings are `Strings`.

    Raises:
        DataError: when a dense feature has not the same number of values in each record.
    """
    column = batch.column(layout.column or layout.name)
    if layout.kind == "dense":
        return [_dense(column, layout, batch.num_rows)]
    if layout.kind == "sparse":
        return _sparse(column, layout)
    if layout.kind == "coordinates":
        return _coordinates(batch, column, layout)
    return _ragged(batch, column, layout)


def _tensor(values: pa.Array, dtype: str, shape: tuple[int, ...] | None = None) -> np.ndarray | Strings:
    """Flat values without nulls as what TensorFlow is fed with."""
    if dtype == "object":
        return as_strings(values, shape)
    array: np.ndarray = values.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    return array if shape is None else array.reshape(shape)


def _integers(values: pa.Array) -> np.ndarray:
    integers: np.ndarray = values.to_numpy(zero_copy_only=False).astype("int64", copy=False)
    return integers


def _dense(column: pa.Array, layout: FeatureLayout, num_rows: int) -> np.ndarray | Strings:
    return _tensor(dense_values(column, layout, num_rows), layout.dtype, (num_rows, *layout.shape))


def dense_values(column: pa.Array, layout: FeatureLayout, num_rows: int) -> pa.Array:
    """Returns the flat values of a dense feature.

    Raises:
        DataError: when they are not as many as the records need.
    """
    size = int(np.prod(layout.shape, dtype=np.int64))
    lengths = value_lengths(column)
    wrong = np.flatnonzero(lengths != size)  # each by itself: two records may miss each other's values and still sum up
    if len(wrong):
        raise DataError(
            f"feature {layout.name!r} needs {size} values in each of {num_rows} records (shape {list(layout.shape)}), record {wrong[0]} of "
            f"the batch has {lengths[wrong[0]] or 'none'}: declare it as VarLenFeature and analyze again, give it a default_value, or "
            "mend the data"
        )
    values = flat_values(column, layout.name)
    return values


def _sparse(column: pa.Array, layout: FeatureLayout) -> list[np.ndarray | Strings]:
    lengths = value_lengths(column)
    total = int(lengths.sum())
    rows: np.ndarray = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    starts = np.cumsum(lengths) - lengths
    places = np.arange(total, dtype=np.int64) - np.repeat(starts, lengths)
    dense_shape = np.array([len(lengths), int(lengths.max(initial=0))], np.int64)
    return [np.stack([rows, places], axis=1), _tensor(flat_values(column, layout.name), layout.dtype), dense_shape]


def _coordinates(batch: pa.RecordBatch, column: pa.Array, layout: FeatureLayout) -> list[np.ndarray | Strings]:
    lengths = value_lengths(column)
    rows: np.ndarray = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    indices = [_integers(flat_values(batch.column(name), name)) for name in layout.index_columns]
    if any(len(each) != len(rows) for each in indices):
        raise DataError(
            f"sparse feature {layout.name!r} has {len(rows)} values and {[len(each) for each in indices]} indices: each "
            f"value needs one of each of {list(layout.index_columns)}"
        )
    dense_shape = np.array([len(lengths), *layout.shape], np.int64)
    return [np.stack([rows, *indices], axis=1), _tensor(flat_values(column, layout.name), layout.dtype), dense_shape]


def _ragged(batch: pa.RecordBatch, column: pa.Array, layout: FeatureLayout) -> list[np.ndarray | Strings]:
    values = _tensor(flat_values(column, layout.name), layout.dtype)
    if not layout.partitions:
        splits = [_splits(value_lengths(column), layout)]
        while is_variable_list(column.type.value_type):
            column = column.flatten()
            splits.append(_splits(value_lengths(column), layout))
        return [values, *splits]
    keys = [each for each in layout.partitions if isinstance(each, str)]
    uniform = [each for each in layout.partitions if not isinstance(each, str)]
    size = int(np.prod(uniform, dtype=np.int64))  # values of a row of the innermost ragged dimension
    # Outermost: how many rows of the first partition a record has, which follows from the partitions and the values.
    if keys:
        outer = value_lengths(batch.column(keys[0]))
    else:
        lengths = value_lengths(column)
        outer = lengths // max(size, 1)
        if (outer * size != lengths).any():
            row = int(np.flatnonzero(outer * size != lengths)[0])
            raise DataError(
                f"ragged feature {layout.name!r} needs a multiple of {size} values a record, its UniformRowLength; record {row} of the "
                f"batch has {int(lengths[row])}"
            )
    splits = [_splits(outer, layout)]
    for key in keys:
        splits.append(_splits(_integers(flat_values(batch.column(key), key)), layout))
    if int(splits[-1][-1]) * size != len(values):
        raise DataError(
            f"ragged feature {layout.name!r} has {len(values)} values in a batch, its partitions {list(layout.partitions)} take "
            f"{int(splits[-1][-1]) * size}"
        )
    return [values.reshape(-1, *uniform) if uniform else values, *splits]


def _splits(lengths: np.ndarray, layout: FeatureLayout) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(layout.splits_dtype)
