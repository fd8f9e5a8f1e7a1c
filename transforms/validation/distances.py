"""Distances between two distributions, by the definitions of TFDV; docs/statistics.md spells them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["jensen_shannon", "jensen_shannon_of_histograms", "l_infinity", "normalized_difference"]


def l_infinity(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[float, str]:
    """Returns the largest difference of a value's share in two data sets, and that value; ties by the last name.

    Args:
        first, second: counts by value, neither empty.
    """
    return _largest(first, second, sum(first.values()), sum(second.values()))


def normalized_difference(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[float, str]:
    """Returns the largest difference of a value's counts, as a share of all counts of both, and that value."""
    total = sum(first.values()) + sum(second.values())
    return _largest(first, second, total, total)


def _largest(first: Mapping[str, float], second: Mapping[str, float], one: float, other: float) -> tuple[float, str]:
    return max((abs(first.get(name, 0) / one - second.get(name, 0) / other), name) for name in {*first, *second})


def jensen_shannon(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Returns the Jensen-Shannon divergence of two counts by value, in bits: 0 for the same shares, 1 for nothing in common."""
    names = sorted({*first, *second})
    return _divergence(np.array([first.get(n, 0) for n in names]), np.array([second.get(n, 0) for n in names]))


def jensen_shannon_of_histograms(first: Any, second: Any) -> float | None:
    """Returns the Jensen-Shannon divergence of two `Histogram` messages, in bits; None where one holds nothing.

    Both are cut at the bounds of either, as if values were spread evenly within a bucket. Buckets without a width, those of infinite
    values and NaN stand beside them; infinite values and NaN of the one never match those of the other.
    """
    (wide, points, infinite), (their_wide, their_points, their_infinite) = _parts(first), _parts(second)
    edges = np.unique([*wide[:, :2].reshape(-1), *their_wide[:, :2].reshape(-1)])
    places = sorted({*points, *their_points})
    one = [*_cut(wide, edges), *(points.get(place, 0.0) for place in places), infinite, 0.0, first.num_nan, 0.0]
    other = [*_cut(their_wide, edges), *(their_points.get(place, 0.0) for place in places), 0.0]
    other += [their_infinite, 0.0, second.num_nan]
    if not sum(one) or not sum(other):
        return None
    return _divergence(np.array(one, np.float64), np.array(other, np.float64))


def _divergence(first: np.ndarray, second: np.ndarray) -> float:
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    total = sum(float((each[each > 0] * np.log2(each[each > 0] / middle[each > 0])).sum()) for each in (p, q))
    return min(max(total / 2, 0.0), 1.0)


def _parts(histogram: Any) -> tuple[np.ndarray, dict[float, float], float]:
    """Returns (low, high and count of buckets with a width; count by value of those without; count of those without end)."""
    wide: list[tuple[float, float, float]] = []
    points: dict[float, float] = {}
    infinite = 0.0
    for bucket in histogram.buckets:
        low, high, count = bucket.low_value, bucket.high_value, bucket.sample_count
        if not np.isfinite(low) or not np.isfinite(high):
            infinite += count
        elif low == high:
            points[low] = points.get(low, 0.0) + count
        else:
            wide.append((low, high, count))
    return np.array(wide, np.float64).reshape(-1, 3), points, infinite


def _cut(buckets: np.ndarray, edges: np.ndarray) -> np.ndarray:
    if len(edges) < 2:
        return np.zeros(0)
    found = np.zeros(len(edges) - 1)
    for low, high, count in buckets.tolist():
        inside = (edges[:-1] >= low) & (edges[1:] <= high)
        part = 1.0 if np.isfinite(high - low) else 0.5  # a width may be more than the largest float
        found[inside] += count * (np.diff(edges * part)[inside] / (high * part - low * part))
    return found
