"""Schemas both ways: a pyarrow schema and TensorFlow's feature spec say the same.

The stored form is the pyarrow schema; what Arrow cannot say (default values, shapes, which keys make up a sparse or
ragged feature) is kept in field metadata as JSON. TensorFlow is imported only where its feature objects are made.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.schema.metadata_keys import FEATURE, feature_descriptions
from engine.schema.spec_fields import fields_of
from engine.schema.tensorflow_view import default_of, feature_type, shape_of, tensorflow_schema

__all__ = ["feature_spec_from_schema", "schema_from_feature_spec"]


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
        for field in fields_of(name, feature):
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
