"""A schema inferred from statistics, by the rules of TFDV: a beginning that people then correct."""

from __future__ import annotations

from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from transforms.validation.feature_view import FeatureView, views

__all__ = ["infer_schema"]

_TYPES = {
    statistics_pb2.FeatureNameStatistics.INT: schema_pb2.INT,
    statistics_pb2.FeatureNameStatistics.FLOAT: schema_pb2.FLOAT,
    statistics_pb2.FeatureNameStatistics.STRING: schema_pb2.BYTES,
    statistics_pb2.FeatureNameStatistics.BYTES: schema_pb2.BYTES,
    statistics_pb2.FeatureNameStatistics.STRUCT: schema_pb2.STRUCT,
}


def infer_schema(statistics: Any, max_domain: int = 100) -> schema_pb2.Schema:
    """Returns the schema that the data of the statistics fit.

    A feature is required where no record lacks it, of a fixed shape where all records have as many values; a string feature with at
    most `max_domain` distinct values may have only these, an integer one of 0 and 1 is a boolean.

    Args:
        statistics: `DatasetFeatureStatisticsList`; its first data set counts.
        max_domain: most values of a domain; 0 for no domains.
    """
    schema = schema_pb2.Schema()
    for view in views(statistics.datasets[0]):
        feature = schema.feature.add(name=view.name, type=_TYPES[view.proto.type])
        if not view.common.num_non_missing:
            continue
        feature.presence.min_count = 1
        if not view.common.num_missing:
            feature.presence.min_fraction = 1.0
        _count_values(feature, view)
        if (
            view.has_numbers
            and feature.type == schema_pb2.INT
            and 0 <= view.proto.num_stats.min <= view.proto.num_stats.max <= 1
        ):
            feature.bool_domain.SetInParent()
        if view.strings and not view.invalid_strings and view.unique_exact and 0 < len(view.strings) <= max_domain:
            feature.domain = view.name
            schema.string_domain.add(name=view.name, value=sorted(view.strings, key=str.encode))
    return schema


def _count_values(feature: Any, view: FeatureView) -> None:
    low, high = view.common.min_num_values, view.common.max_num_values
    if low == high and low and not view.common.num_missing:
        feature.shape.dim.add(size=low)
        return
    if low:
        feature.value_count.min = 1
    if high == 1:
        feature.value_count.max = 1
