"""Quantiles of the absolute error, from a histogram whose buckets are one part in a million wide: mergeable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import SparseSums

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["ErrorQuantiles"]

_DROPPED = 2  # bits of the 23 of a float32's fraction: a bucket's middle is within 2.4e-7 of each of its values


class ErrorQuantiles(SparseSums):
    """Weights of the absolute errors in each bucket, by group.

    Args:
        percents: a quantile is the least error that so many percent of the weight do not exceed.
    """

    width, slots = 1, 1 << (31 - _DROPPED)

    def __init__(self, percents: Sequence[int] = (50,)) -> None:
        super().__init__()
        self.percents = tuple(percents)

    def _empty(self) -> Self:
        return type(self)(self.percents)

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        error = np.abs(labels - predictions).astype(np.float32)
        # Floats that are not negative have the order of their bits.
        self.add(groups, error.view(np.int32).astype(np.int64) >> _DROPPED, weights[None, :])

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the quantiles of each group."""
        keys, sums = self.whole()
        kept = sums[0] > 0
        keys, weights = keys[kept], sums[0][kept]
        bits = (keys % self.slots << _DROPPED) + (keys % self.slots > 0) * (1 << _DROPPED - 1)
        errors = bits.astype(np.int32).view(np.float32).astype(np.float64)
        out = {_name(percent): np.full(size, np.nan) for percent in self.percents}
        starts = np.searchsorted(keys, np.arange(size + 1) * self.slots)
        for group in range(size):
            part = slice(starts[group], starts[group + 1])
            if part.start == part.stop:
                continue
            below = np.cumsum(weights[part])
            for percent in self.percents:
                # The last bucket is found where rounding left the sum short of the whole.
                place = np.searchsorted(below, percent / 100 * below[-1] * (1 - 1e-12))
                out[_name(percent)][group] = errors[part][min(int(place), len(below) - 1)]
        return out


def _name(percent: int) -> str:
    return "median_absolute_error" if percent == 50 else f"absolute_error_p{percent}"
