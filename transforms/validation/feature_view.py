"""What checks ask of the statistics of a feature, whatever wrote them: TFDV's are taken as well as ours."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

__all__ = ["NOT_UTF8", "PLACEHOLDERS", "FeatureView", "dataset_of", "is_weighted", "views"]

NOT_UTF8 = "__BYTES_VALUE__"
PLACEHOLDERS = (NOT_UTF8, "__LARGE_BYTES__")
_KINDS = statistics_pb2.FeatureNameStatistics


class FeatureView:
    """The statistics of one feature.

    Args:
        proto: `FeatureNameStatistics`.
        by_weight: whether shares are those of the records' weights, as TFDV has them where there are any.
    """

    def __init__(self, proto: Any, by_weight: bool = False) -> None:
        self.proto, self.by_weight = proto, by_weight

    @property
    def name(self) -> str:
        """Name, the steps of a path joined by "."."""
        return ".".join(self.proto.path.step) if self.proto.HasField("path") else self.proto.name

    @property
    def common(self) -> Any:
        """`CommonStatistics`."""
        return self._stats.common_stats

    @property
    def type_name(self) -> str:
        """INT, FLOAT, STRING, BYTES or STRUCT."""
        return str(_KINDS.Type.Name(self.proto.type))

    @property
    def has_strings(self) -> bool:
        """Whether values were counted as strings."""
        return bool(self.proto.WhichOneof("stats") == "string_stats")

    @property
    def has_numbers(self) -> bool:
        """Whether the feature has numeric statistics."""
        return bool(self.proto.WhichOneof("stats") == "num_stats")

    @cached_property
    def strings(self) -> dict[str, float]:
        """Values of a string feature with their counts or weights: all that the statistics hold, 1,000 at most in ours and TFDV's."""
        if not self.has_strings:
            return {}
        plain = self.proto.string_stats
        stats = plain.weighted_string_stats if self.by_weight else plain
        ranks = {each.label: each.sample_count for each in stats.rank_histogram.buckets}
        return ranks or {each.value: each.frequency for each in stats.top_values}

    @property
    def invalid_strings(self) -> bool:
        """Whether some values are not shown: they are no text, or too long."""
        return bool(self.proto.string_stats.invalid_utf8_count) or any(name in self.strings for name in PLACEHOLDERS)

    @property
    def unique_exact(self) -> bool:
        """Whether all distinct values are known."""
        noted = {each.name for each in self.proto.custom_stats}
        complete = len(self.strings) >= self.proto.string_stats.unique
        return complete and "unique_relative_error" not in noted

    @property
    def share_present(self) -> float:
        """Share of the records that have the feature."""
        stats = self.common.weighted_common_stats if self.by_weight else self.common
        total = stats.num_non_missing + stats.num_missing
        return stats.num_non_missing / total if total else 0.0

    @property
    def total(self) -> float:
        """How many values there are, or the sum of their weights."""
        stats = self.common.weighted_common_stats if self.by_weight else self.common
        return float(stats.tot_num_values)

    @cached_property
    def unseen(self) -> float:
        """Share of the values of a string feature that the statistics do not name."""
        return max(0.0, 1.0 - sum(self.strings.values()) / self.total) if self.total else 0.0

    @property
    def num_nan(self) -> float:
        """Values that are NaN."""
        return next((each.num_nan for each in self.proto.num_stats.histograms), 0)

    def histogram(self, kind: int) -> Any:
        """Returns the histogram of a kind (`Histogram.STANDARD` or `QUANTILES`), or None."""
        stats = self.proto.num_stats.weighted_numeric_stats if self.by_weight else self.proto.num_stats
        return next((each for each in stats.histograms if each.type == kind), None)

    @property
    def _stats(self) -> Any:
        return getattr(self.proto, self.proto.WhichOneof("stats") or "num_stats")


def views(dataset: Any, by_weight: bool = False) -> list[FeatureView]:
    """Returns the features of a `DatasetFeatureStatistics`.

    Args:
        dataset: see there.
        by_weight: see `FeatureView`.
    """
    return [FeatureView(each, by_weight) for each in dataset.features]


def is_weighted(dataset: Any) -> bool:
    """Returns whether the records of a `DatasetFeatureStatistics` had weights."""
    return bool(dataset.weighted_num_examples > 0)


def dataset_of(statistics: Any) -> Any:
    """Returns the statistics of all records, which are the first."""
    return statistics.datasets[0]
