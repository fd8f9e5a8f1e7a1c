"""Quantiles of the absolute error, from a histogram whose buckets are one part in a million wide: mergeable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import SparseSums
from trainers.evaluation.accumulators.sampling import Intervals, half_width

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["ErrorQuantiles"]

_DROPPED = 2  # bits of the 23 of a float32's fraction: a bucket's middle is within 2.4e-7 of each of its values
_INFINITE = 0x7F800000  # bits of infinity


class ErrorQuantiles(SparseSums):
    """Weights of the absolute errors in each bucket, by group.

    Args:
        percents: a quantile is the least error that so many percent of the weight do not exceed.
        samples: bootstrap samples of each group.
    """

    width, slots = 1, 1 << (31 - _DROPPED)

    def __init__(self, percents: Sequence[int] = (50,), samples: int = 1) -> None:
        super().__init__(samples)
        self.percents = tuple(percents)

    def _empty(self) -> Self:
        return type(self)(self.percents, self._samples)

    def slot_values(
        self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the bucket of each row's error, and its weight."""
        error = np.abs(labels - predictions).astype(np.float32)
        # Floats that are not negative have the order of their bits.
        return error.view(np.int32).astype(np.int64) >> _DROPPED, weights[None, :]

    def without(self, size: int, parts: int) -> _LeftOut:
        """Returns what gives for each group here the quantiles of its whole without it."""
        return _LeftOut(self, size, parts)

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the quantiles of each group."""
        out = {_name(percent): np.full(size, np.nan) for percent in self.percents}
        for group, slots, sums in self.samples_of(size):
            errors, below = _distribution(slots, sums[0])
            for percent in self.percents if len(errors) else ():
                out[_name(percent)][group] = errors[_place(below, percent / 100)]
        return out


class _LeftOut:
    """The quantiles of each segment without each of its parts, on the straight line through the quantile.

    A quantile itself jumps from row to row, and the jackknife of what jumps is too narrow. The share of the weight at or below the
    quantile does not: its jackknife gives the interval of the share, the quantiles at the ends of that are the interval of the
    quantile (R. S. Woodruff, "Confidence Intervals for Medians and Other Position Measures", 1952), and their distance by that of
    the shares is the line's slope. So the spread of what is returned is that interval, and differences of two models stay paired.
    """

    def __init__(self, whole: ErrorQuantiles, size: int, parts: int) -> None:
        self._whole, self._size, self._parts = whole, size, parts

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the quantiles [segments * parts]."""
        percents = self._whole.percents
        out = {_name(percent): np.full((self._size, self._parts), np.nan) for percent in percents}
        for segment, (slots, places, part, sums) in enumerate(self._whole.segments(self._size, self._parts)):
            if not len(slots):
                continue
            errors, below = _distribution(slots, np.bincount(places, sums[0], len(slots)))
            left = sums[0].sum() - np.bincount(part, sums[0], self._parts)
            for percent in percents if len(errors) else ():
                place = _place(below, percent / 100)
                under = np.searchsorted(_errors(slots), errors[place], side="right")
                mine = places < under
                share = below[place] / below[-1]
                kept = below[place] - np.bincount(part[mine], sums[0][mine], self._parts)
                shares = np.divide(kept, left, out=np.full(self._parts, np.nan), where=left > 1e-12 * below[-1])
                out[_name(percent)][segment] = errors[place] + (share - shares) * _slope(
                    errors, below, percent / 100, float(half_width(shares, Intervals.JACKKNIFE))
                )
        return {name: values.reshape(-1) for name, values in out.items()}


def _slope(errors: np.ndarray, below: np.ndarray, share: float, half: float) -> float:
    """Returns by how much the quantile moves with the share, over the interval of the share."""
    low, high = max(share - half, 0.0), min(share + half, 1.0)
    if not high > low:
        return 0.0 if half == 0 else np.nan
    return float((errors[_place(below, high)] - errors[_place(below, low)]) / (high - low))


def _errors(slots: np.ndarray) -> np.ndarray:
    """The middle of each slot; 0 of that of 0, and infinity of the last."""
    bits = (slots << _DROPPED) + (slots > 0) * (1 << _DROPPED - 1)
    return np.minimum(bits, _INFINITE).astype(np.int32).view(np.float32).astype(np.float64)


def _distribution(slots: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the errors that have weight, ascending, and the weight at or below each."""
    kept = weights > 0
    return _errors(slots[kept]), np.cumsum(weights[kept])


def _place(below: np.ndarray, share: float) -> int:
    """Returns which error is the quantile: the last where rounding left the sum short of the whole."""
    return min(int(np.searchsorted(below, share * below[-1] * (1 - 1e-12))), len(below) - 1)


def _name(percent: int) -> str:
    return "median_absolute_error" if percent == 50 else f"absolute_error_p{percent}"
