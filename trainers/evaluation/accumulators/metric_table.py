"""All metrics of all segments of one kind, with intervals from the same pass."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np

from trainers.evaluation.accumulators.row_sums import BinarySums, MulticlassSums, RegressionSums
from trainers.evaluation.accumulators.score_histogram import ScoreHistogram

__all__ = ["Intervals", "MetricTable", "poisson_counts"]

PARTS = 20  # of the rows, for intervals: TFMA's number too
# Quantiles of Student's t at 97.5 % and of 19 degrees of freedom: 20 parts less one.
_T = 2.093


class Intervals(enum.Enum):
    """How intervals are estimated."""

    NONE = "none"
    JACKKNIFE = "jackknife"  # the rows in 20 parts, each metric without each part
    BOOTSTRAP = "bootstrap"  # each row counted 0, 1, 2, ... times in each of 20 samples


class MetricTable:
    """Metrics of a task over groups of rows.

    Args:
        task: "binary", "multiclass" or "regression".
        intervals: estimated from the same pass.
        classes: number of classes of "multiclass".
    """

    def __init__(self, task: str, intervals: Intervals = Intervals.NONE, classes: int = 2) -> None:
        self._intervals = intervals
        self._parts = 1 if intervals is Intervals.NONE else PARTS
        self._plain = _accumulators(task, classes)  # exact totals where samples overlap
        self._parted = _accumulators(task, classes) if intervals is Intervals.BOOTSTRAP else self._plain

    def update(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, ids: np.ndarray
    ) -> None:
        """Adds rows.

        Args:
            groups: int64 [n], the segment of each row.
            labels, predictions, weights: float64, as `Accumulator.update` takes them.
            ids: int64 [n], the number of each row in the data: the interval depends on nothing else.
        """
        if self._intervals is Intervals.JACKKNIFE:
            for each in self._plain:
                each.update(groups * PARTS + _part_of(ids), labels, predictions, weights)
            return
        for each in self._plain:
            each.update(groups, labels, predictions, weights)
        if self._intervals is Intervals.BOOTSTRAP:
            for sample in range(PARTS):
                counts = poisson_counts(ids, sample)
                rows = np.flatnonzero(counts)
                for each in self._parted:
                    each.update(
                        groups[rows] * PARTS + sample, labels[rows], predictions[rows], weights[rows] * counts[rows]
                    )

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns float64 [size] for each metric."""
        whole = self._plain
        if self._intervals is Intervals.JACKKNIFE:
            whole = [each.folded(size, PARTS) for each in self._plain]
        return {name: values for each in whole for name, values in each.results(size).items()}

    def histogram(self, size: int) -> ScoreHistogram | None:
        """Returns the histogram of the probability in each group; None where the task has no probability."""
        for each in self._plain:
            if isinstance(each, ScoreHistogram):
                return each.folded(size, PARTS) if self._intervals is Intervals.JACKKNIFE else each
        return None

    def half_widths(self, size: int) -> dict[str, np.ndarray]:
        """Returns float64 [size] for each metric: half of its 95 % interval; NaN where it is unknown.

        Source: B. Efron and C. Stein, "The Jackknife Estimate of Variance", 1981; Poisson bootstrap: N. Chamandy et al.,
        "Estimating Uncertainty for Massive Data Streams", 2012.
        """
        if self._intervals is Intervals.NONE:
            return {}
        jackknife = self._intervals is Intervals.JACKKNIFE
        samples = [each.without(size, PARTS) for each in self._parted] if jackknife else self._parted
        out = {}
        for each in samples:
            for name, values in each.results(size * PARTS).items():
                by_part = values.reshape(size, PARTS)
                spread = by_part.std(axis=1, ddof=1)
                # Samples that leave one part out differ by far less than samples drawn anew.
                out[name] = _T * spread * ((PARTS - 1) / np.sqrt(PARTS) if jackknife else 1.0)
        return out


def _accumulators(task: str, classes: int) -> Sequence[BinarySums | RegressionSums | MulticlassSums | ScoreHistogram]:
    if task == "binary":
        return [BinarySums(), ScoreHistogram()]
    return [RegressionSums()] if task == "regression" else [MulticlassSums(classes)]


def _part_of(ids: np.ndarray) -> np.ndarray:
    # Mixed: data that are sorted, or whose order has a period, must not put its periods into parts.
    return (_mixed(ids, 0) % np.uint64(PARTS)).astype(np.int64)


def poisson_counts(ids: np.ndarray, sample: int) -> np.ndarray:
    """Returns how often each row is in a bootstrap sample: Poisson of mean 1, by the row's number alone.

    Args:
        ids: int64 [n].
        sample: number of the sample.
    """
    uniform = (_mixed(ids, sample + 1) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.searchsorted(_POISSON, uniform, side="right").astype(np.float64)


def _cumulative() -> np.ndarray:
    terms = np.exp(-1.0) / np.cumprod([1.0, *range(1, 20)])
    return np.cumsum(terms)


_POISSON = _cumulative()


def _mixed(ids: np.ndarray, salt: int) -> np.ndarray:
    """splitmix64: every bit of a number depends on every bit of the row's."""
    with np.errstate(over="ignore"):
        z = ids.astype(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (salt + 1)) % (1 << 64))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
