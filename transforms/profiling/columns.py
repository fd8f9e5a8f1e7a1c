"""Columns of Arrow batches as features: which records have one, how many values, and the flat values of a plain type."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import ConfigError
from engine.schema.kinds import is_text, value_kind
from engine.schema.lists import is_list, value_lengths

__all__ = ["FeatureColumn", "feature_column", "kind_of"]


@dataclasses.dataclass(frozen=True)
class FeatureColumn:
    """A feature of a batch.

    Attributes:
        present: bool [records]; None where every record has it.
        lengths: number of values of each record that has it, int64; None where each has one.
        values: all values, without nulls: int64, uint64, float64 or large_binary.
        nulls_inside: nulls inside of lists, which are no values.
        text: whether the type says that the bytes are UTF-8.
    """

    present: np.ndarray | None
    lengths: np.ndarray | None
    values: pa.Array
    nulls_inside: int
    text: bool


def kind_of(data_type: pa.DataType, name: str) -> str:
    """Returns the kind of a column's values: "int", "float" or "bytes".

    Raises:
        ConfigError: a type that is no feature.
    """
    while is_list(data_type):
        data_type = data_type.value_type
    types = pa.types
    if types.is_dictionary(data_type):
        return kind_of(data_type.value_type, name)
    if types.is_integer(data_type) or types.is_boolean(data_type) or types.is_temporal(data_type):
        return "int"
    if types.is_floating(data_type) or types.is_decimal(data_type):
        return "float"
    if types.is_nested(data_type):
        raise ConfigError(
            f"column {name!r} has type {data_type}: statistics are taken of integers, floats, text, bytes, and lists of "
            "those; name the other columns to leave it out (features, --feature)"
        )
    return "bytes"


def feature_column(array: pa.Array) -> FeatureColumn:
    """Returns a column as a feature.

    Args:
        array: of plain values, or of lists of any depth, whose values are then those of all inner lists.
    """
    present = None if not array.null_count else pc.is_valid(array).to_numpy(zero_copy_only=False)
    if not is_list(array.type):
        return FeatureColumn(present, None, _plain(array.drop_null()), 0, is_text(value_kind(array.type)))
    if array.null_count:
        array = array.drop_null()
    lengths = value_lengths(array)
    values = array.flatten()
    while is_list(values.type):
        lengths = _sums_of_runs(value_lengths(values), lengths)
        values = values.flatten()
    nulls = values.null_count
    if nulls:
        valid = pc.is_valid(values).to_numpy(zero_copy_only=False).astype(np.int64)
        lengths = _sums_of_runs(valid, lengths)
        values = values.drop_null()
    return FeatureColumn(present, lengths, _plain(values), nulls, is_text(value_kind(values.type)))


def _sums_of_runs(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    ends = np.concatenate([[0], np.cumsum(values)])
    at = np.cumsum(lengths)
    sums: np.ndarray = ends[at] - ends[at - lengths]
    return sums


def _plain(values: pa.Array) -> pa.Array:
    types, kind = pa.types, values.type
    if types.is_dictionary(kind):
        return _plain(values.dictionary_decode())
    if types.is_boolean(kind):
        return values.cast(pa.int8()).cast(pa.int64())
    if types.is_integer(kind):
        return values if kind == pa.uint64() else values.cast(pa.int64())
    if types.is_date64(kind):  # milliseconds: a date counts days, whichever file it is in
        return _plain(values.cast(pa.date32()))
    if types.is_date32(kind) or types.is_time32(kind):
        return values.cast(pa.int32()).cast(pa.int64())
    if types.is_temporal(kind):
        return values.cast(pa.int64())
    if types.is_floating(kind) or types.is_decimal(kind):
        # Adding 0 makes one value of 0.0 and -0.0, which are equal but two to a hash table.
        return pa.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False) + 0.0)
    if types.is_null(kind):
        return pa.array([], pa.large_binary())
    return (values.cast(pa.binary()) if types.is_fixed_size_binary(kind) else values).cast(pa.large_binary())
