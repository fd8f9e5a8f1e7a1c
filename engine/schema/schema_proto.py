"""Schemas of TensorFlow Metadata, as TFDV infers them and TFT and TFX take them, wherever a feature spec is taken."""

from __future__ import annotations

import os
from typing import Any

from engine.core.errors import ConfigError, DataError
from engine.storage import paths as _paths

__all__ = ["as_feature_spec", "feature_spec_of_proto", "is_schema_proto", "load_schema"]

_MESSAGE = "tensorflow.metadata.v0.Schema"


def is_schema_proto(value: Any) -> bool:
    """Returns whether a value is a Schema message, or the path of one."""
    if isinstance(value, str | os.PathLike):
        return True
    return getattr(getattr(value, "DESCRIPTOR", None), "full_name", None) == _MESSAGE


def as_feature_spec(value: Any) -> Any:
    """Returns a feature spec as it is, and that of a Schema message or of the path of one."""
    return feature_spec_of_proto(value) if is_schema_proto(value) else value


def feature_spec_of_proto(schema: Any) -> dict[str, Any]:
    """Returns the feature spec that TFT makes of a schema. Imports TensorFlow and TFT.

    Args:
        schema: a Schema message, or the path of one: text (`schema.pbtxt`), or binary (`.pb`).

    Raises:
        DataError: a file that holds no Schema.
        ConfigError: TFT is not there, or a schema that no feature spec says.
    """
    try:
        from tensorflow_transform.tf_metadata import schema_utils
    except ImportError as error:
        raise ConfigError(
            "a Schema proto is turned into a feature spec by tensorflow_transform, which is not installed here: install it, or "
            "give a feature spec or an Arrow schema"
        ) from error
    message = load_schema(os.fspath(schema)) if isinstance(schema, str | os.PathLike) else schema
    try:
        return dict(schema_utils.schema_as_feature_spec(message).feature_spec)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"the schema {_name(schema)} says what no feature spec does: {error}") from error


def _name(schema: Any) -> str:
    return os.fspath(schema) if isinstance(schema, str | os.PathLike) else "message"


def load_schema(path: str) -> Any:
    """Returns the Schema message of a file: text (`schema.pbtxt`), or binary (`.pb`).

    Raises:
        DataError: a file that holds no Schema, or one without a feature.
    """
    from google.protobuf import message, text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    with _paths.open_input(path) as file:
        data = b"".join(iter(lambda: file.read(1 << 20), b""))
    found = schema_pb2.Schema()
    try:
        if path.endswith(".pb"):
            found.ParseFromString(data)
        else:
            text_format.Parse(data.decode(), found)
    except (text_format.ParseError, message.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"holds no Schema of TensorFlow Metadata as text (.pbtxt) or binary (.pb): {error}", path=path
        ) from error
    if not found.feature:
        raise DataError("holds a Schema without a feature", path=path)
    return found
