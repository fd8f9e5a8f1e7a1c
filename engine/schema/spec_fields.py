"""The columns that a feature of TensorFlow's feature spec reads: their types, and notes of what Arrow cannot say."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.schema.metadata_keys import DEFAULT, FEATURE, SHAPE

__all__ = ["arrow_type", "dtype_name", "fields_of", "shape_list"]

_TYPES = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.binary()}


def fields_of(name: str, feature: Any) -> list[pa.Field]:
    """Returns the columns that a feature reads.

    Raises:
        ConfigError: an unknown kind of feature, or a dtype or default that tf.Example cannot hold.
    """
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
        # One value is that of each place, as in tf.io.parse_example.
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
