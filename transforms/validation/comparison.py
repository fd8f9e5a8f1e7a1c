"""Drift and skew: the statistics of two data sets, compared feature by feature."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from engine.core.errors import ConfigError, listed
from transforms.validation.anomalies import Reason
from transforms.validation.distances import (
    jensen_shannon,
    jensen_shannon_of_histograms,
    l_infinity,
    normalized_difference,
)
from transforms.validation.feature_checks import is_checked
from transforms.validation.feature_view import FeatureView, dataset_of, is_weighted, views

__all__ = ["Compared", "check_thresholds", "compare"]

EVERY = "*"
_MEASURE = anomalies_pb2.DriftSkewInfo.Measurement


@dataclasses.dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes:
        reasons: what is above its threshold, or could not be compared.
        distances: `DriftSkewInfo` of each feature that was compared.
    """

    reasons: tuple[Reason, ...]
    distances: tuple[Any, ...]


def check_thresholds(name: str, thresholds: Mapping[str, Any]) -> None:
    """Raises ConfigError for a threshold that is no share between 0 and 1."""
    for feature, value in thresholds.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not 0 <= value <= 1:
            raise ConfigError(f"{name}: {feature}={value!r}; a distance is a number from 0 to 1, e.g. {feature}=0.01")


def compare(
    schema: Any,
    now: Any,
    other: Any,
    kind: Literal["drift", "skew"],
    thresholds: Mapping[str, float],
    against: str,
) -> Compared:
    """Returns how far features are from those of another data set.

    Args:
        schema: its comparators say which distance is measured and what is allowed.
        now: statistics that are judged.
        other: statistics that they are compared with.
        kind: which of the schema's comparators: "drift" from earlier data, "skew" from other data of the same time.
        thresholds: by feature, in place of the schema's; "*" is for all features that both have, and one a value of: L-infinity
            where values are names, Jensen-Shannon where they are numbers.
        against: what the other is, for the messages.

    Raises:
        ConfigError: a threshold for a feature that neither has.
    """
    by_weight = is_weighted(dataset_of(now)) and is_weighted(dataset_of(other))
    mine = {each.name: each for each in views(dataset_of(now), by_weight)}
    theirs = {each.name: each for each in views(dataset_of(other), by_weight)}
    known = {*mine, *theirs, *(feature.name for feature in schema.feature)}
    unknown = [name for name in thresholds if name != EVERY and name not in known]
    if unknown:
        raise ConfigError(f"{kind}: feature {unknown[0]!r} not found; available features: {listed(sorted(known))}")
    wanted: dict[str, list[tuple[str, float, Any]]] = {}
    if EVERY in thresholds:
        both = [name for name in mine if name in theirs]
        # Of what neither has a value of nothing has changed.
        there = [n for n in both if mine[n].common.tot_num_values or theirs[n].common.tot_num_values]
        wanted = {name: [("", thresholds[EVERY], None)] for name in there}
    for feature in schema.feature:
        comparator = feature.skew_comparator if kind == "skew" else feature.drift_comparator
        found = list(_of_schema(comparator))
        if found and is_checked(feature):
            wanted[feature.name] = found
    wanted.update({name: [("", value, None)] for name, value in thresholds.items() if name != EVERY})
    reasons: list[Reason] = []
    distances = []
    for name in sorted(wanted):
        info = anomalies_pb2.DriftSkewInfo()
        info.path.step.append(name)
        measured = info.skew_measurements if kind == "skew" else info.drift_measurements
        for measure, threshold, source in wanted[name]:
            reasons += _measure(name, mine.get(name), theirs.get(name), measure, threshold, source, measured, against)
        if measured:
            distances.append(info)
    reasons += _sizes(schema, dataset_of(now), dataset_of(other), kind, against)
    return Compared(tuple(reasons), tuple(distances))


def _of_schema(comparator: Any) -> Iterator[tuple[str, float, Any]]:
    # One without a threshold asks for nothing, as in TFDV.
    if comparator.infinity_norm.HasField("threshold"):
        yield "L_INFTY", comparator.infinity_norm.threshold, None
    if comparator.jensen_shannon_divergence.HasField("threshold"):
        divergence = comparator.jensen_shannon_divergence
        yield "JENSEN_SHANNON_DIVERGENCE", divergence.threshold, divergence.source
    if comparator.normalized_abs_difference.HasField("threshold"):
        yield "NORMALIZED_ABSOLUTE_DIFFERENCE", comparator.normalized_abs_difference.threshold, None


def _measure(
    name: str,
    mine: FeatureView | None,
    theirs: FeatureView | None,
    measure: str,
    threshold: float,
    source: Any,
    measured: Any,
    against: str,
) -> Sequence[Reason]:
    for view, kind, where in (
        (theirs, "COMPARATOR_CONTROL_DATA_MISSING", against),
        (mine, "COMPARATOR_TREATMENT_DATA_MISSING", "the data"),
    ):
        if view is None or not view.common.tot_num_values:
            return [
                Reason(name, kind, "Nothing to compare with", f"A distance is wanted, and {where} have no value of it.")
            ]
    assert mine is not None and theirs is not None
    measure = measure or ("L_INFTY" if mine.has_strings else "JENSEN_SHANNON_DIVERGENCE")
    found = _distance(mine, theirs, measure, source)
    if found is None:
        text = f"{measure} cannot be measured between {mine.type_name} and {theirs.type_name} of {against}: it takes "
        text += "strings" if measure != "JENSEN_SHANNON_DIVERGENCE" else "numbers of both, or strings of both"
        return [Reason(name, "STATS_NOT_AVAILABLE", "Not comparable", f"{text}.")]
    value, label = found
    measured.add(type=_MEASURE.Type.Value(measure), value=value, threshold=threshold)
    if value <= threshold:
        return []
    shown = measure.replace("_", " ").lower()
    at = f"; the value that differs most is {label!r}" if label is not None else ""
    text = f"{shown} from {against} is {value:.6g}, above {threshold:g}{at}."
    kinds = {"L_INFTY": "L_INFTY_HIGH", "NORMALIZED_ABSOLUTE_DIFFERENCE": "NORMALIZED_ABSOLUTE_DIFFERENCE_HIGH"}
    short = f"Differs from {against}"
    return [Reason(name, f"COMPARATOR_{kinds.get(measure, 'JENSEN_SHANNON_DIVERGENCE_HIGH')}", short, text)]


def _distance(mine: FeatureView, theirs: FeatureView, measure: str, source: Any) -> tuple[float, str | None] | None:
    if mine.strings and theirs.strings:
        if measure == "JENSEN_SHANNON_DIVERGENCE":
            return jensen_shannon(mine.strings, theirs.strings), None
        return (l_infinity if measure == "L_INFTY" else normalized_difference)(mine.strings, theirs.strings)
    if measure != "JENSEN_SHANNON_DIVERGENCE" or not (mine.has_numbers and theirs.has_numbers):
        return None
    quantiles = source is not None and source.type == schema_pb2.HistogramSelection.QUANTILES
    kind = statistics_pb2.Histogram.QUANTILES if quantiles else statistics_pb2.Histogram.STANDARD
    first, second = mine.histogram(kind), theirs.histogram(kind)
    value = None if first is None or second is None else jensen_shannon_of_histograms(first, second)
    return None if value is None else (value, None)


def _sizes(schema: Any, now: Any, other: Any, kind: str, against: str) -> Iterator[Reason]:
    field = "num_examples_drift_comparator" if kind == "drift" else "num_examples_version_comparator"
    if kind != "drift" or not schema.dataset_constraints.HasField(field) or not other.num_examples:
        return
    wanted, ratio = getattr(schema.dataset_constraints, field), now.num_examples / other.num_examples
    seen = f"{now.num_examples:,} records are {ratio:.4g} times those of {against}"
    if wanted.min_fraction_threshold > ratio:
        text = f"{seen}; at least {wanted.min_fraction_threshold:g} times are expected."
        yield Reason("", "COMPARATOR_LOW_NUM_EXAMPLES", "Fewer records", text)
    if wanted.HasField("max_fraction_threshold") and wanted.max_fraction_threshold < ratio:
        text = f"{seen}; at most {wanted.max_fraction_threshold:g} times are expected."
        yield Reason("", "COMPARATOR_HIGH_NUM_EXAMPLES", "More records", text)
