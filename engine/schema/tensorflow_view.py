"""The schema as TensorFlow sees it: int64, float32, bytes, and lists of those, with their shapes and default values."""

from __future__ import annotations

import base64
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.schema.kinds import is_text_or_bytes
from engine.schema.lists import is_list
from engine.schema.metadata_keys import DEFAULT, SHAPE, read_note

__all__ = ["default_of", "feature_type", "shape_of", "tensorflow_schema", "timed_schema"]


def tensorflow_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema as TensorFlow sees it: what feature_spec, TFRecord, feed, analysis and export all go by.

    Integers, booleans and times (in the column's own unit) are int64, floats and decimals float32, text is bytes; a fixed
    list whose values may be missing is one of any length, as a missing value is one without a value.

    Raises:
        ConfigError: a nested or otherwise foreign column type.
    """
    return pa.schema([_tensorflow_field(field) for field in schema], metadata=schema.metadata)


def timed_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema as TensorFlow sees it, but for columns of times, which keep their type.

    Files of one data set may have their times in other units: all are to be read in that of the data set before they are counted.
    The `tensorflow_schema` of what comes is the one of the data set.

    Raises:
        ConfigError: a nested or otherwise foreign column type.
    """
    viewed = tensorflow_schema(schema)
    return pa.schema([own if _holds_times(own.type) else seen for own, seen in zip(schema, viewed)], schema.metadata)


def feature_type(data_type: pa.DataType) -> str:
    """Returns the kind of a TensorFlow-view column: "int64", "float32" or "bytes" (lists: of their values)."""
    while pa.types.is_list(data_type) or pa.types.is_fixed_size_list(data_type):
        data_type = data_type.value_type
    return "int64" if data_type == pa.int64() else "float32" if data_type == pa.float32() else "bytes"


def shape_of(field: pa.Field) -> list[int]:
    """Returns the shape of one record's value: [] for a scalar, else from `fullpass.shape` or the list size."""
    if not pa.types.is_fixed_size_list(field.type):
        return []
    shape = read_note(field, SHAPE)
    return [field.type.list_size] if shape is None else shape


def default_of(field: pa.Field) -> list[Any] | None:
    """Returns the flat default values of a fixed column (bytes for bytes columns), or None where it has none."""
    stored = read_note(field, DEFAULT)
    if stored is None:
        return None
    values = stored if isinstance(stored, list) else [stored]
    values = [base64.b64decode(value["base64"]) if isinstance(value, dict) else value for value in values]
    return [float(value) for value in values] if feature_type(field.type) == "float32" else values


def _holds_times(kind: pa.DataType) -> bool:
    while is_list(kind) or pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_temporal(kind))


def _tensorflow_field(field: pa.Field) -> pa.Field:
    kind = _tensorflow_type(field.type, field.name)
    # A record without the feature has no value at all, which a fixed shape cannot say.
    if field.nullable and pa.types.is_fixed_size_list(kind):
        kind = pa.list_(kind.value_type)
    return pa.field(field.name, kind, field.nullable, field.metadata)


def _tensorflow_type(data_type: pa.DataType, name: str) -> pa.DataType:
    types = pa.types
    if is_list(data_type):
        nested = data_type.value_type
        if types.is_nested(nested) and not (is_list(nested)):
            raise ConfigError(
                f"column {name!r} has type {data_type}: TensorFlow features hold lists of numbers or bytes"
            )
        value = _tensorflow_type(nested, name)
        return pa.list_(value, data_type.list_size) if types.is_fixed_size_list(data_type) else pa.list_(value)
    if types.is_dictionary(data_type):
        return _tensorflow_type(data_type.value_type, name)
    if types.is_integer(data_type) or types.is_boolean(data_type) or types.is_temporal(data_type):
        return pa.int64()
    if types.is_floating(data_type) or types.is_decimal(data_type):
        return pa.float32()
    if is_text_or_bytes(data_type):
        return pa.binary()
    if types.is_null(data_type):
        return pa.binary()
    raise ConfigError(
        f"column {name!r} has type {data_type}: TensorFlow takes integers, floats, text, bytes, and lists of those"
    )
