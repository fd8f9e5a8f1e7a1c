"""Schemas of TensorFlow Metadata: read, and asked what they say of features."""

from __future__ import annotations

import os
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from engine.core.errors import ConfigError
from engine.schema.schema_proto import is_schema_proto, load_schema
from engine.storage import paths

__all__ = ["as_schema", "categories", "environments", "raw_bytes", "string_domain"]

_MEDIA = ("image_domain", "audio_domain", "video_domain")


def as_schema(value: Any) -> schema_pb2.Schema:
    """Returns a Schema message from itself, or from the path of one (`schema.pbtxt` or `.pb`).

    Raises:
        ConfigError: neither, or no such file.
        DataError: a file that holds no Schema.
    """
    if not is_schema_proto(value):
        raise ConfigError(
            f"schema: {type(value).__name__} is no Schema; give a Schema message, or the path of schema.pbtxt"
        )
    if not isinstance(value, str | os.PathLike):
        return value
    path = os.fspath(value)
    if not paths.exists(path):
        raise ConfigError(
            f"schema: {path} not found; `fullpass stats DATA --out DIR` writes an inferred one to DIR/schema.pbtxt"
        )
    return load_schema(path)


def categories(schema: schema_pb2.Schema) -> set[str]:
    """Returns the integer features that are names: their values are counted, their sums mean nothing."""
    return {each.name for each in schema.feature if each.int_domain.is_categorical}


def environments(schema: schema_pb2.Schema) -> set[str]:
    """Returns the environments that a schema names anywhere."""
    features = [
        *(each.in_environment for each in schema.feature),
        *(each.not_in_environment for each in schema.feature),
    ]
    return {*schema.default_environment, *(name for names in features for name in names)}


def raw_bytes(schema: schema_pb2.Schema) -> set[str]:
    """Returns the features whose bytes are no text: images, sound, video."""
    return {each.name for each in schema.feature if each.WhichOneof("domain_info") in _MEDIA}


def string_domain(schema: schema_pb2.Schema, feature: schema_pb2.Feature) -> list[str] | None:
    """Returns the values that a string feature may have, or None where the schema does not say.

    Raises:
        ConfigError: a feature names a domain that the schema does not have.
    """
    kind = feature.WhichOneof("domain_info")
    if kind == "string_domain":
        return list(feature.string_domain.value)
    if kind != "domain":
        return None
    found = [each for each in schema.string_domain if each.name == feature.domain]
    if not found:
        raise ConfigError(
            f"schema: feature {feature.name!r} names the domain {feature.domain!r}, which the schema does not have"
        )
    return list(found[0].value)
