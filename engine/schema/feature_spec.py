"""Schemas both ways: a pyarrow schema and TensorFlow's feature spec say the same.

The stored form is the pyarrow schema; what Arrow cannot say (default values, shapes, which keys make up a sparse or
ragged feature) is kept in field metadata as JSON. TensorFlow is imported only where its feature objects are made.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.schema.lists import is_list
from engine.schema.metadata_keys import DEFAULT, FEATURE, SHAPE, feature_descriptions, read_note

__all__ = [
    "arrow_type",
    "default_of",
    "dtype_name",
    "feature_spec_from_schema",
    "feature_type",
    "schema_from_feature_spec",
    "shape_list",
    "shape_of",
    "tensorflow_schema",
]


_TYPES = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.binary()}


def schema_from_feature_spec(feature_spec: Mapping[str, Any]) -> pa.Schema:
    """Returns the Arrow schema of the columns that a TensorFlow feature spec reads.

    A `SparseFeature` or `RaggedFeature` becomes one list column per key it names; metadata says how they belong together.

    Args:
        feature_spec: feature name to `tf.io.FixedLenFeature`, `VarLenFeature`, `FixedLenSequenceFeature`, `SparseFeature`
            or `RaggedFeature`.

    Raises:
        ConfigError: a type that tf.Example cannot hold, an unknown kind, or two features that need one key differently.
    """
    fields: dict[str, pa.Field] = {}
    for name, feature in feature_spec.items():
        for field in _fields_of(name, feature):
            fields[field.name] = _merged(fields[field.name], field) if field.name in fields else field
    return pa.schema(list(fields.values()))


def feature_spec_from_schema(schema: pa.Schema) -> dict[str, Any]:
    """Returns the TensorFlow feature spec of a schema. Imports TensorFlow.

    A list of frames, which a feature spec cannot say, is the `VarLenFeature` of the values of all its frames.

    Raises:
        ConfigError: a column type that TensorFlow cannot be fed with.
    """
    import tensorflow as tf

    spec: dict[str, Any] = {}
    for field in tensorflow_schema(schema):
        compound = feature_descriptions(field)
        for description in compound:
            spec[description["name"]] = _compound_feature(description, tf)
        if compound:
            continue
        kind = feature_type(field.type)
        dtype = {"int64": tf.int64, "float32": tf.float32, "bytes": tf.string}[kind]
        if pa.types.is_list(field.type) or field.nullable:
            spec[field.name] = tf.io.VarLenFeature(dtype)
        else:
            spec[field.name] = tf.io.FixedLenFeature(shape_of(field), dtype, _shaped_default(field))
    return spec


def tensorflow_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema as TensorFlow sees it: what feature_spec, TFRecord, feed, analysis and export all go by.

    Integers, booleans and times (in the column's own unit) are int64, floats and decimals float32, text is bytes; a fixed
    list whose values may be missing is one of any length, as a missing value is one without a value.

    Raises:
        ConfigError: a nested or otherwise foreign column type.
    """
    return pa.schema([_tensorflow_field(field) for field in schema], metadata=schema.metadata)


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


def _tensorflow_field(field: pa.Field) -> pa.Field:
    kind = _tensorflow_type(field.type, field.name)
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
    if _is_text(data_type):
        return pa.binary()
    if types.is_null(data_type):
        return pa.binary()
    raise ConfigError(
        f"column {name!r} has type {data_type}: TensorFlow takes integers, floats, text, bytes, and lists of those"
    )


def _is_text(data_type: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(data_type)
        or types.is_large_string(data_type)
        or types.is_binary(data_type)
        or types.is_large_binary(data_type)
        or types.is_fixed_size_binary(data_type)
        or types.is_string_view(data_type)
        or types.is_binary_view(data_type)
    )


def _fields_of(name: str, feature: Any) -> list[pa.Field]:
    kind = type(feature).__name__
    dtype = arrow_type(name, feature.dtype) if hasattr(feature, "dtype") else None
    if kind == "FixedLenFeature":
        return [_fixed_field(name, feature, dtype)]
    if kind == "VarLenFeature":
        return [pa.field(name, pa.list_(dtype))]
    if kind == "FixedLenSequenceFeature":
        description = {
            "kind": "sequence",
            "name": name,
            "shape": shape_list(feature.shape),
            "dtype": dtype_name(feature.dtype),
            "default": _json_default(feature.default_value),
        }
        return [_list_field(name, dtype, description)]
    if kind == "SparseFeature":
        index_keys = [feature.index_key] if isinstance(feature.index_key, str) else list(feature.index_key)
        sizes = [int(size) for size in (feature.size if isinstance(feature.size, list | tuple) else [feature.size])]
        description = {
            "kind": "sparse",
            "name": name,
            "index_key": index_keys,
            "value_key": feature.value_key,
            "size": sizes,
            "scalar_index": isinstance(feature.index_key, str),
            "dtype": dtype_name(feature.dtype),
            "already_sorted": bool(feature.already_sorted),
        }
        fields = [_list_field(key, pa.int64(), description) for key in index_keys]
        return [*fields, _list_field(feature.value_key, dtype, description)]
    if kind == "RaggedFeature":
        return _ragged_fields(name, feature, dtype)
    raise ConfigError(
        f"feature {name!r} is a {kind}; known are FixedLenFeature, VarLenFeature, FixedLenSequenceFeature, "
        "SparseFeature and RaggedFeature"
    )


def _fixed_field(name: str, feature: Any, dtype: pa.DataType) -> pa.Field:
    shape = shape_list(feature.shape)
    metadata = {}
    if shape:
        dtype = pa.list_(dtype, math.prod(shape))
        metadata[SHAPE] = json.dumps(shape)
    if feature.default_value is not None:
        default = _json_default(feature.default_value)
        count = math.prod(shape)
        if isinstance(default, list) and len(default) == 1 and count != 1:
            default = default * count
        elif not isinstance(default, list) and shape:
            default = [default] * count
        if isinstance(default, list) and len(default) != count:
            raise ConfigError(
                f"feature {name!r}: default_value has {len(default)} values, its shape {shape} takes {count}"
            )
        metadata[DEFAULT] = json.dumps(default if shape else default[0] if isinstance(default, list) else default)
    return pa.field(name, dtype, nullable=False, metadata=metadata or None)


def _ragged_fields(name: str, feature: Any, dtype: pa.DataType) -> list[pa.Field]:
    partitions = []
    for partition in feature.partitions or ():
        entry: dict[str, Any] = {"kind": type(partition).__name__}
        entry |= {"length": int(partition.length)} if entry["kind"] == "UniformRowLength" else {"key": partition.key}
        partitions.append(entry)
    value_key = name if feature.value_key is None else feature.value_key
    description = {
        "kind": "ragged",
        "name": name,
        "value_key": value_key,
        "partitions": partitions,
        "row_splits_dtype": dtype_name(feature.row_splits_dtype),
        "dtype": dtype_name(feature.dtype),
    }
    keys = [entry["key"] for entry in partitions if "key" in entry]
    return [_list_field(value_key, dtype, description), *(_list_field(key, pa.int64(), description) for key in keys)]


def _list_field(name: str, dtype: pa.DataType, description: dict[str, Any]) -> pa.Field:
    return pa.field(name, pa.list_(dtype), metadata={FEATURE: json.dumps([description], sort_keys=True)})


def _merged(first: pa.Field, second: pa.Field) -> pa.Field:
    """One key used by two features: possible where both read it as the same list."""
    if first.type != second.type or not pa.types.is_list(first.type):
        raise ConfigError(f"key {first.name!r} is read as {first.type} by one feature and as {second.type} by another")
    descriptions = []
    for field in (first, second):
        own = [{"kind": "varlen", "name": field.name, "dtype": feature_type(field.type)}]
        descriptions += [d for d in feature_descriptions(field) or own if d not in descriptions]
    return first.with_metadata({FEATURE: json.dumps(descriptions, sort_keys=True)})


def _compound_feature(description: dict[str, Any], tf: Any) -> Any:
    dtype = {"int64": tf.int64, "float32": tf.float32}.get(description["dtype"], tf.string)
    kind = description["kind"]
    if kind == "sparse":
        scalar = description["scalar_index"]
        index_key, size = description["index_key"], description["size"]
        return tf.io.SparseFeature(
            index_key[0] if scalar else index_key,
            description["value_key"],
            dtype,
            size[0] if scalar else size,
            description["already_sorted"],
        )
    if kind == "ragged":
        partitions = [
            getattr(tf.io.RaggedFeature, p["kind"])(p["length"] if "length" in p else p["key"])
            for p in description["partitions"]
        ]
        return tf.io.RaggedFeature(
            dtype, description["value_key"], partitions, tf.as_dtype(description["row_splits_dtype"])
        )
    if kind == "sequence":
        default = description["default"]
        default = base64.b64decode(default["base64"]) if isinstance(default, dict) else default
        return tf.io.FixedLenSequenceFeature(description["shape"], dtype, allow_missing=True, default_value=default)
    return tf.io.VarLenFeature(dtype)


def _shaped_default(field: pa.Field) -> Any:
    values = default_of(field)
    if values is None:
        return None
    shape = shape_of(field)
    for size in reversed(shape[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values if shape else values[0]


def shape_list(shape: Any) -> list[int]:
    """Returns the shape of a TensorFlow feature, given as one size or several, as a list."""
    if isinstance(shape, int):
        return [shape]
    return [int(size) for size in shape]


def dtype_name(dtype: Any) -> str:
    """Returns the name of a dtype that is given as TensorFlow's object or by name."""
    return dtype.name if hasattr(dtype, "name") else str(dtype)


def arrow_type(name: str, dtype: Any) -> pa.DataType:
    """Returns the Arrow type of a feature's dtype.

    Raises:
        ConfigError: a dtype that tf.Example cannot hold.
    """
    try:
        return _TYPES[dtype_name(dtype)]
    except KeyError:
        raise ConfigError(
            f"feature {name!r} has dtype {dtype_name(dtype)}; tf.Example holds int64, float32 and string"
        ) from None


def _json_default(value: Any) -> Any:
    if value is None:
        return None
    if hasattr(value, "numpy"):
        value = value.numpy()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        flat: list[Any] = []
        for item in value:
            inner = _json_default(item)
            flat.extend(inner if isinstance(inner, list) else [inner])
        return flat
    if isinstance(value, str):
        value = value.encode()
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
