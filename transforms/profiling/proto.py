"""States as `DatasetFeatureStatisticsList` of TensorFlow Metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from tensorflow_metadata.proto.v0 import statistics_pb2

from transforms.profiling.distribution import RANK_ERROR
from transforms.profiling.feature_state import FeatureState
from transforms.profiling.histograms import points_of, quantile_histogram, standard_histogram
from transforms.profiling.numbers import NumberState
from transforms.profiling.statistics_pass import SliceRows
from transforms.profiling.texts import LARGE, UNIQUE_HASHES, TextState, is_utf8

__all__ = ["statistics_proto"]

_HALF = Fraction(1, 2)
_TOP_VALUES, _RANKS = 20, 1000
_NOT_UTF8 = b"__BYTES_VALUE__"
_TYPES = {
    "int": statistics_pb2.FeatureNameStatistics.INT,
    "category": statistics_pb2.FeatureNameStatistics.INT,
    "float": statistics_pb2.FeatureNameStatistics.FLOAT,
    "bytes": statistics_pb2.FeatureNameStatistics.STRING,
    "blob": statistics_pb2.FeatureNameStatistics.BYTES,
}


def statistics_proto(
    counts: Mapping[str, SliceRows],
    slices: Mapping[str, Sequence[FeatureState]],
    names: Sequence[str],
    weighted: bool,
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Returns the statistics of all slices.

    Args:
        counts: records by slice.
        slices: states of the features by slice.
        names: of the features.
        weighted: whether records have weights.
    """
    result = statistics_pb2.DatasetFeatureStatisticsList()
    for name, states in slices.items():
        dataset = result.datasets.add(name=name, num_examples=counts[name].rows)
        if weighted:
            dataset.weighted_num_examples = counts[name].weight
        for feature, state in zip(names, states):
            _feature(dataset.features.add(), feature, state, weighted)
    return result


def _feature(proto: Any, name: str, state: FeatureState, weighted: bool) -> None:
    proto.path.step.append(name)
    proto.type = _TYPES[state.kind]
    if state.numbers is not None:
        _common(proto.num_stats.common_stats, state, weighted)
        _numbers(proto.num_stats, state.numbers, weighted)
        _note(proto, "quantile_rank_error", RANK_ERROR if state.numbers.values.sketches else 0)
        infinite = state.numbers.count - state.numbers.finite
        _note(proto, "num_infinite", infinite)
    elif state.texts is not None:
        tokens = state.texts.tokens
        unique = tokens.unique
        if state.kind == "blob":
            _common(proto.bytes_stats.common_stats, state, weighted)
            _blobs(proto.bytes_stats, state.texts, unique)
        else:
            _common(proto.string_stats.common_stats, state, weighted)
            _texts(proto.string_stats, state.texts, unique, weighted)
        _note(proto, "unique_relative_error", 0 if tokens.exact else UNIQUE_HASHES**-0.5)
        _note(proto, "top_values_count_error", tokens.counts.error if tokens.counts is not None else 0)
    _note(proto, "num_nulls_inside_lists", state.nulls_inside)


def _note(proto: Any, name: str, value: float) -> None:
    if value:
        proto.custom_stats.add(name=name, num=value)


def _common(common: Any, state: FeatureState, weighted: bool) -> None:
    points = points_of(state.lengths)
    common.num_non_missing, common.num_missing = state.present, state.missing
    common.tot_num_values = state.values
    if state.present:
        common.min_num_values, common.max_num_values = int(points.values[0]), int(points.values[-1])
        common.avg_num_values = state.values / state.present
        common.num_values_histogram.CopyFrom(quantile_histogram(points))
    if weighted:
        present, missing, values = state.weights
        mine = common.weighted_common_stats
        mine.num_non_missing, mine.num_missing, mine.tot_num_values = present, missing, values
        mine.avg_num_values = values / present if present else 0.0


def _numbers(stats: Any, numbers: NumberState, weighted: bool) -> None:
    points = points_of(numbers.values)
    stats.mean, stats.std_dev = numbers.moments()
    stats.num_zeros = numbers.zeros
    nothing = float("nan")
    stats.min = nothing if numbers.low is None else numbers.low
    stats.max = nothing if numbers.high is None else numbers.high
    stats.median = points.quantile(_HALF)
    stats.histograms.append(standard_histogram(points, numbers.nan))
    stats.histograms.append(quantile_histogram(points, numbers.nan))
    if weighted:
        mine = stats.weighted_numeric_stats
        heavy = points_of(numbers.values, weighted=True)
        mine.mean, mine.std_dev = numbers.weighted_moments()
        mine.median = heavy.quantile(_HALF)
        mine.histograms.append(standard_histogram(heavy, numbers.nan_weight))
        mine.histograms.append(quantile_histogram(heavy, numbers.nan_weight))


def _texts(stats: Any, texts: TextState, unique: int, weighted: bool) -> None:
    stats.unique = unique
    stats.avg_length = texts.total_bytes / texts.count if texts.count else 0.0
    stats.invalid_utf8_count = texts.invalid
    counts = texts.tokens.counts
    if counts is None:
        return
    values = counts.values.to_pylist()
    _ranks(stats, _shown(values, counts.counts))
    if weighted and counts.weights is not None:
        _ranks(stats.weighted_string_stats, _shown(values, counts.weights))


def _ranks(stats: Any, ranked: Sequence[tuple[str, float]]) -> None:
    for value, count in ranked[:_TOP_VALUES]:
        stats.top_values.add(value=value, frequency=count)
    for rank, (value, count) in enumerate(ranked[:_RANKS]):
        stats.rank_histogram.buckets.add(low_rank=rank, high_rank=rank, label=value, sample_count=count)


def _shown(values: Sequence[bytes], measures: np.ndarray) -> list[tuple[str, float]]:
    """Returns (value, how much) with the largest first, ties by value; all that is not UTF-8 is one, as are long values."""
    totals: dict[str, float] = {}
    order = np.argsort(-measures, kind="stable")
    # Rare values beyond what is shown need no look at their bytes, but the shared names must have all of theirs.
    for at in order.tolist():
        value = values[at]
        name = LARGE if value.startswith(LARGE) else value if is_utf8(value) else _NOT_UTF8
        text = name.decode()
        totals[text] = totals.get(text, 0) + measures[at].item()
    return sorted(totals.items(), key=lambda each: (-each[1], each[0].encode()))


def _blobs(stats: Any, texts: TextState, unique: int) -> None:
    stats.unique = unique
    stats.avg_num_bytes = texts.total_bytes / texts.count if texts.count else 0.0
    stats.min_num_bytes = float(texts.low_bytes or 0)
    stats.max_num_bytes = float(texts.high_bytes)
    stats.max_num_bytes_int = texts.high_bytes
