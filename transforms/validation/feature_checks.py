"""What a schema says of one feature, held to its statistics: type, presence, numbers of values, uniqueness."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2

from transforms.validation.anomalies import Reason
from transforms.validation.domain_checks import domain_reasons
from transforms.validation.feature_view import FeatureView

__all__ = ["feature_reasons", "in_environment", "is_checked", "is_required"]

_STAGES = schema_pb2.LifecycleStage
_NOT_CHECKED = (_STAGES.PLANNED, _STAGES.ALPHA, _STAGES.DEPRECATED, _STAGES.DEBUG_ONLY)
_TYPES = {
    schema_pb2.INT: ("INT",),
    schema_pb2.FLOAT: ("FLOAT",),
    schema_pb2.BYTES: ("STRING", "BYTES"),
    schema_pb2.STRUCT: ("STRUCT",),
}


def is_checked(feature: Any) -> bool:
    """Returns whether a feature is held to anything at its stage of life."""
    return not feature.deprecated and feature.lifecycle_stage not in _NOT_CHECKED


def in_environment(schema: Any, feature: Any, environment: str | None) -> bool:
    """Returns whether a feature is in an environment; in no environment all are.

    A feature is in the schema's default environments, and in those that it names itself, less those that it says it is not in.
    """
    if environment is None:
        return True
    if environment in feature.not_in_environment:
        return False
    return environment in feature.in_environment or environment in schema.default_environment


def is_required(feature: Any) -> bool:
    """Returns whether a feature must be there."""
    return bool(feature.presence.min_count > 0 or feature.presence.min_fraction > 0)


def feature_reasons(schema: Any, feature: Any, view: FeatureView) -> Iterator[Reason]:
    """Yields what of a feature does not fit the schema.

    Args:
        schema: the whole, for its domains.
        feature: what the schema says of it.
        view: its statistics.
    """
    yield from _presence(feature, view)
    if not view.common.num_non_missing:
        return
    wanted = _TYPES.get(feature.type)
    if wanted is not None and view.type_name not in wanted:
        text = f"Expected type {schema_pb2.FeatureType.Name(feature.type)}, found {view.type_name}."
        yield Reason(feature.name, "UNEXPECTED_DATA_TYPE", "Another type", text)
        return
    yield from _numbers_of_values(feature, view)
    yield from domain_reasons(schema, feature, view)
    if feature.HasField("unique_constraints"):
        yield from _unique(feature, view)


def _presence(feature: Any, view: FeatureView) -> Iterator[Reason]:
    present, missing, wanted = view.common.num_non_missing, view.common.num_missing, feature.presence
    name = feature.name
    if is_required(feature) and not present:
        yield Reason(
            name, "FEATURE_TYPE_NOT_PRESENT", "Missing everywhere", "No record has the feature, which is required."
        )
        return
    if present + missing and view.share_present < wanted.min_fraction:
        counted = f"{present:,} of {present + missing:,}{', by their weights' if view.by_weight else ''}"
        text = f"{view.share_present:.4%} of the records have it ({counted}); at least {wanted.min_fraction:.4%} must."
        yield Reason(name, "FEATURE_TYPE_LOW_FRACTION_PRESENT", "Missing too often", text)
    if present < wanted.min_count:
        text = f"{present:,} records have it; at least {wanted.min_count:,} must."
        yield Reason(name, "FEATURE_TYPE_LOW_NUMBER_PRESENT", "In too few records", text)


def _numbers_of_values(feature: Any, view: FeatureView) -> Iterator[Reason]:
    name, low, high = feature.name, view.common.min_num_values, view.common.max_num_values
    seen = f"{low}" if low == high else f"{low} to {high}"
    kind = feature.WhichOneof("shape_type")
    if kind == "shape":
        wanted = math.prod(each.size for each in feature.shape.dim)
        if view.common.num_missing:
            text = f"{view.common.num_missing:,} records lack it; a feature with a shape has {wanted} values in every record."
            yield Reason(name, "INVALID_FEATURE_SHAPE", "Missing values", text)
        elif (low, high) != (wanted, wanted):
            text = f"The records have {seen} values; the shape takes {wanted} each."
            yield Reason(name, "INVALID_FEATURE_SHAPE", "Another number of values", text)
        return
    if kind not in ("value_count", "value_counts"):
        return
    inner = list(feature.value_counts.value_count) if kind == "value_counts" else [feature.value_count]
    if len(inner) != 1:  # of lists of lists the values are counted without their levels
        return
    if low < inner[0].min:
        text = f"Some record has {low} values; at least {inner[0].min} are expected."
        yield Reason(name, "FEATURE_TYPE_LOW_NUMBER_VALUES", "Too few values", text)
    if 0 < inner[0].max < high:
        text = f"Some record has {high} values; at most {inner[0].max} are expected."
        yield Reason(name, "FEATURE_TYPE_HIGH_NUMBER_VALUES", "Too many values", text)


def _unique(feature: Any, view: FeatureView) -> Iterator[Reason]:
    wanted = feature.unique_constraints
    if view.has_numbers:
        text = "The schema bounds the number of distinct values, which is not counted of numbers."
        yield Reason(feature.name, "FEATURE_TYPE_NO_UNIQUE", "Distinct values not counted", text)
        return
    unique = getattr(view.proto, view.proto.WhichOneof("stats")).unique
    if unique < wanted.min:
        text = f"{unique:,} distinct values; at least {wanted.min:,} are expected."
        yield Reason(feature.name, "FEATURE_TYPE_LOW_UNIQUE", "Too few distinct values", text)
    if wanted.HasField("max") and unique > wanted.max:
        text = f"{unique:,} distinct values; at most {wanted.max:,} are expected."
        yield Reason(feature.name, "FEATURE_TYPE_HIGH_UNIQUE", "Too many distinct values", text)
