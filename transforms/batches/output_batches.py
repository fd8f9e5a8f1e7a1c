"""TensorFlow's results as Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError
from transforms.batches.graph_strings import Strings, eager_strings
from transforms.batches.placeholders import FeatureLayout

__all__ = ["to_record_batch"]


def to_record_batch(
    outputs: Mapping[str, Any],
    features: Sequence[FeatureLayout],
    schema: pa.Schema,
    rows: int,
    place_of: Callable[[str], str] = lambda name: "preprocessing_fn",
) -> pa.RecordBatch:
    """Returns the output tensors of a batch as Arrow columns.

    Args:
        outputs: tensors by feature.
        features: layout of each.
        schema: of the batch.
        rows: records of the batch.
        place_of: what made an output, for an error.

    Raises:
        ConfigError: an output with another number of records.
    """
    columns: dict[str, pa.Array] = {}
    for feature in features:
        columns.update(_columns(outputs[feature.name], feature))
    wrong = {name: len(column) for name, column in columns.items() if len(column) != rows}
    if wrong:
        name, found = next(iter(wrong.items()))
        raise ConfigError(
            f"{place_of(name)} returned output {name!r} with {found} rows for {rows} records: each output needs one row a record; "
            "drop records before the analysis, or mark them with a weight of 0"
        )
    arrays = [_fit(columns[field.name], field) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _columns(tensor: Any, feature: FeatureLayout) -> dict[str, pa.Array]:
    name = feature.column or feature.name
    if feature.kind == "dense":
        return {name: _dense(_taken(tensor), feature.shape)}
    if feature.kind == "ragged":
        return _ragged(tensor, feature)
    indices, values = _numpy(tensor.indices), _arrow(_taken(tensor.values))
    rows = int(_numpy(tensor.dense_shape)[0])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(indices[:, 0], minlength=rows))]).astype(np.int32)
    result = {name: pa.ListArray.from_arrays(offsets, values)}
    for place, column in enumerate(feature.index_columns):
        result[column] = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(indices[:, place + 1])))
    return result


def _ragged(tensor: Any, feature: FeatureLayout) -> dict[str, pa.Array]:
    splits: list[np.ndarray] = [_numpy(each).astype(np.int64) for each in tensor.nested_row_splits]
    flat = _taken(tensor.flat_values)
    inner = int(np.prod(flat.shape[1:], dtype=np.int64))
    ends = splits[0]
    result: dict[str, pa.Array] = {}
    level = 1
    for partition in feature.partitions:
        if isinstance(partition, str):
            lengths = np.diff(splits[level])
            result[partition] = pa.ListArray.from_arrays(ends.astype(np.int32), pa.array(lengths))
            ends = splits[level][ends]
            level += 1
        elif level < len(splits):
            ends = splits[level][ends]
            level += 1
    values = _arrow(flat.reshape(-1))
    result[feature.column or feature.name] = pa.ListArray.from_arrays((ends * inner).astype(np.int32), values)
    return result


def _dense(array: np.ndarray | Strings, shape: Sequence[int]) -> pa.Array:
    values = _arrow(array.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, int(np.prod(shape, dtype=np.int64))) if shape else values


def _numpy(value: Any) -> np.ndarray:
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


def _taken(value: Any) -> np.ndarray | Strings:
    return eager_strings(value) if hasattr(value, "numpy") else np.asarray(value)


def _arrow(values: np.ndarray | Strings) -> pa.Array:
    if isinstance(values, Strings):
        return values.values
    return pa.array(values, pa.binary()) if values.dtype == object else pa.array(np.ascontiguousarray(values))


def _fit(column: pa.Array, field: pa.Field) -> pa.Array:
    return column if column.type == field.type else column.cast(field.type)
