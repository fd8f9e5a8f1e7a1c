"""Histograms and quantiles of a distribution, as TensorFlow Metadata has them.

The quantile at q of n sorted values is the one at position ⌊q n⌋, counted from 0: no value is made up between two that are there.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import statistics_pb2

from transforms.profiling.distribution import Distribution

__all__ = ["Points", "points_of", "quantile_histogram", "standard_histogram"]

BUCKETS = 10
_SKETCH_POINTS = 1001


class Points:
    """Values in ascending order with how much of each there is.

    Args:
        values: float64, ascending.
        measures: how much of each: counts, or sums of weights.
    """

    def __init__(self, values: np.ndarray, measures: np.ndarray) -> None:
        self.values, self.measures = values, measures
        self._ends = np.cumsum(measures)

    @property
    def total(self) -> float:
        """How much there is of all."""
        return float(self._ends[-1]) if len(self._ends) else 0.0

    def quantile(self, share: Fraction) -> float:
        """Returns the value at a share of all, NaN where there is none."""
        if not self.total:
            return float("nan")
        # Divided last: 0.7 in binary is less, and of 90 values would give the 62nd.
        at = share.numerator * self.total / share.denominator
        if (self.measures == np.rint(self.measures)).all():
            at = np.floor(at)
        return float(self.values[min(int(np.searchsorted(self._ends, at, side="right")), len(self.values) - 1)])


def points_of(distribution: Distribution, weighted: bool = False) -> Points:
    """Returns all distinct values, or the quantiles of the sketch where there were too many."""
    distribution.settle()
    if distribution.sketches:
        sketch = distribution.sketches[1 if weighted else 0]
        values, ends = (each.flatten().to_numpy() for each in sketch.GetQuantilesAndCumulativeWeights(_SKETCH_POINTS))
        return Points(values, np.diff(ends, prepend=0.0))
    exact = distribution.exact
    if exact is None:
        return Points(np.zeros(0), np.zeros(0))
    order = pc.sort_indices(exact.values).to_numpy()
    measures = exact.weights if weighted and exact.weights is not None else exact.counts
    values = exact.values.to_numpy(zero_copy_only=False)[order].astype(np.float64)
    return Points(values, measures[order].astype(np.float64))


def quantile_histogram(points: Points, nan: float = 0) -> statistics_pb2.Histogram:
    """Returns buckets that hold the same share of the values each."""
    histogram = statistics_pb2.Histogram(type=statistics_pb2.Histogram.QUANTILES, num_nan=round(nan))
    if points.total:
        ends = [points.quantile(Fraction(index, BUCKETS)) for index in range(BUCKETS)] + [float(points.values[-1])]
        for low, high in itertools.pairwise(ends):
            histogram.buckets.add(low_value=low, high_value=high, sample_count=points.total / BUCKETS)
    return histogram


def standard_histogram(points: Points, nan: float = 0) -> statistics_pb2.Histogram:
    """Returns buckets of the same width over the finite values, closed below, the last one above too.

    A constant has one bucket of no width; infinite values have a bucket of their own at either end.
    """
    histogram = statistics_pb2.Histogram(type=statistics_pb2.Histogram.STANDARD, num_nan=round(nan))
    finite = np.isfinite(points.values)
    values, measures = points.values[finite], points.measures[finite]
    below, above = (float(points.measures[points.values == end].sum()) for end in (-np.inf, np.inf))
    if below:
        histogram.buckets.add(low_value=-np.inf, high_value=-np.inf, sample_count=below)
    if len(values) and values[0] == values[-1]:
        histogram.buckets.add(low_value=values[0], high_value=values[0], sample_count=float(measures.sum()))
    elif len(values):
        edges = _edges(float(values[0]), float(values[-1]))
        at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BUCKETS - 1)
        counts = np.bincount(at, weights=measures, minlength=BUCKETS)
        for (low, high), count in zip(itertools.pairwise(edges.tolist()), counts.tolist()):
            histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    if above:
        histogram.buckets.add(low_value=np.inf, high_value=np.inf, sample_count=above)
    return histogram


def _edges(low: float, high: float) -> np.ndarray:
    if np.isfinite(high - low):
        return np.linspace(low, high, BUCKETS + 1)
    shares = np.arange(BUCKETS + 1) / BUCKETS  # the difference is too large for a float
    return low * (1 - shares) + high * shares
