"""Columns of tf.SequenceExample: which come from its feature lists, and TensorFlow's parsing features for them, both ways.

A context feature is a column as a feature of tf.Example is. A feature list is one list a record, with an entry a frame:

| sequence feature | Arrow type |
|---|---|
| FixedLenSequenceFeature([], dtype): one value a frame | list<T> |
| FixedLenSequenceFeature(shape, dtype) | list<fixed_size_list<T>>, with `fullpass.shape` |
| VarLenFeature(dtype), RaggedFeature(dtype): any number of values a frame | list<list<T>> |

Field metadata `fullpass.sequence` (JSON) marks such a column and holds the feature list's key, which the column is named
after unless a context feature has that name. A record without the list is null where `allow_missing` is set, as it always
is for variable frames, and an error elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError
from engine.schema.feature_spec import feature_spec_from_schema
from engine.schema.metadata_keys import SEQUENCE, SHAPE, read_note
from engine.schema.spec_fields import arrow_type, dtype_name, shape_list
from engine.schema.tensorflow_view import feature_type, tensorflow_schema

__all__ = [
    "column_name",
    "frame_field",
    "is_sequence",
    "sequence_key",
    "sequence_schema",
    "sequence_spec_from_schema",
]


def sequence_schema(context: pa.Schema, sequence_features: Mapping[str, Any]) -> pa.Schema:
    """Returns a schema with the columns of sequence features behind those of the context.

    Args:
        context: columns of the context features.
        sequence_features: what `tf.io.parse_sequence_example` takes: key of a feature list to `FixedLenSequenceFeature`,
            `VarLenFeature`, or `RaggedFeature` without partitions.

    Raises:
        ConfigError: a type that a feature list cannot hold, or a feature of another kind.
    """
    fields = list(context)
    for key, feature in sequence_features.items():
        fields.append(_field_of(key, feature, column_name(key, context.names)))
    return pa.schema(fields, metadata=context.metadata)


def column_name(key: str, context: list[str]) -> str:
    """Returns the name of a feature list's column: its key, or `sequence/KEY` where a context feature has that name."""
    return f"sequence/{key}" if key in context else key


def frame_field(name: str, key: str, frame: pa.DataType, *, nullable: bool, **notes: Any) -> pa.Field:
    """Returns the column of a feature list.

    Args:
        name: of the column.
        key: of the feature list.
        frame: type of one frame: a value, a list or a fixed-size list of values.
        nullable: whether records may lack the list.
        **notes: what else to keep in the field's `fullpass.sequence`.
    """
    return pa.field(name, pa.list_(frame), nullable, {SEQUENCE: json.dumps({"key": key, **notes}, sort_keys=True)})


def is_sequence(field: pa.Field) -> bool:
    """Returns whether a column is read from a feature list."""
    return SEQUENCE in (field.metadata or {})


def sequence_key(field: pa.Field) -> str:
    """Returns the key of a column's feature list.

    Raises:
        ConfigError: a type that a feature list does not have.
    """
    frame = field.type.value_type if pa.types.is_list(field.type) else None
    if frame is not None and (pa.types.is_list(frame) or pa.types.is_fixed_size_list(frame)):
        frame = frame.value_type
    if frame is None or pa.types.is_nested(frame):
        raise ConfigError(
            f"column {field.name!r} is of a feature list and has type {field.type}; it takes list<T>, list<list<T>> or "
            "list<fixed_size_list<T>> of int64, float32 or binary"
        )
    return str(_notes(field)["key"])


def sequence_spec_from_schema(schema: pa.Schema) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (context_features, sequence_features) as `tf.io.parse_sequence_example` takes them. Imports TensorFlow."""
    import tensorflow as tf

    context = pa.schema([field for field in schema if not is_sequence(field)])
    features: dict[str, Any] = {}
    for field in tensorflow_schema(pa.schema([field for field in schema if is_sequence(field)])):
        dtype = {"int64": tf.int64, "float32": tf.float32, "bytes": tf.string}[feature_type(field.type)]
        key, frame, notes = sequence_key(field), field.type.value_type, _notes(field)
        if pa.types.is_list(frame):
            ragged = notes.get("ragged")
            features[key] = tf.io.VarLenFeature(dtype)
            if ragged:
                features[key] = tf.io.RaggedFeature(dtype, row_splits_dtype=tf.as_dtype(ragged))
            continue
        shape: list[int] = []
        if pa.types.is_fixed_size_list(frame):
            shape = read_note(field, SHAPE) or [frame.list_size]
        features[key] = tf.io.FixedLenSequenceFeature(shape, dtype, allow_missing=field.nullable)
    return feature_spec_from_schema(context), features


def _notes(field: pa.Field) -> dict[str, Any]:
    value = read_note(field, SEQUENCE)
    if not isinstance(value, dict) or not isinstance(value.get("key"), str):
        raise ConfigError(
            f"column {field.name!r}: its metadata {SEQUENCE.decode()} is damaged (no key of a feature list); write the file again, "
            "without it"
        )
    return value


def _field_of(key: str, feature: Any, name: str) -> pa.Field:
    kind = type(feature).__name__
    if kind == "VarLenFeature":
        return frame_field(name, key, pa.list_(arrow_type(key, feature.dtype)), nullable=True)
    if kind == "RaggedFeature":
        if feature.partitions or feature.value_key not in (None, key):
            raise ConfigError(
                f"sequence feature {key!r}: a RaggedFeature of frames takes no partitions and no other value_key"
            )
        frame = pa.list_(arrow_type(key, feature.dtype))
        return frame_field(name, key, frame, nullable=True, ragged=dtype_name(feature.row_splits_dtype))
    if kind != "FixedLenSequenceFeature":
        raise ConfigError(
            f"sequence feature {key!r} is a {kind}; known are FixedLenSequenceFeature, VarLenFeature and RaggedFeature"
        )
    if feature.default_value is not None:
        raise ConfigError(
            f"sequence feature {key!r} has a default_value, which tf.io.parse_sequence_example refuses too; records without "
            "the list are null with allow_missing=True"
        )
    shape = shape_list(feature.shape)
    value = arrow_type(key, feature.dtype)
    field = frame_field(
        name, key, pa.list_(value, math.prod(shape)) if shape else value, nullable=bool(feature.allow_missing)
    )
    return field.with_metadata({**field.metadata, SHAPE: json.dumps(shape)}) if shape else field
