"""What every metric accumulator does."""

from __future__ import annotations

from typing import Protocol

import numpy as np

__all__ = ["Accumulator", "summed_by_group"]


class Accumulator(Protocol):
    """Sums of rows by group, from which metrics are computed.

    A group is a segment, or a segment's part that an interval is estimated from.
    """

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows.

        Args:
            groups: int64 [n], each at least 0.
            labels: float64 [n].
            predictions: float64 [n], or [n, k] of k classes.
            weights: float64 [n].
        """

    def merge(self, other: Accumulator) -> None:
        """Adds what another accumulator of the same kind holds; groups have the same meaning in both."""

    def folded(self, size: int, parts: int) -> Accumulator:
        """Returns the sums of the first `size` groups, each of which is `parts` groups here, one after the other."""

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns float64 [size] for each metric; NaN where it has no meaning."""


def summed_by_group(sums: np.ndarray, groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns `sums` [k, g], grown where a group is new, with values [k, n] added to the sums of their rows' groups."""
    size = max(sums.shape[1], int(groups.max(initial=-1)) + 1)
    if size > sums.shape[1]:
        grown = np.zeros((len(sums), max(size, 2 * sums.shape[1])))
        grown[:, : sums.shape[1]] = sums
        sums = grown
    for row, part in zip(sums, values):
        row += np.bincount(groups, part, len(row))
    return sums
