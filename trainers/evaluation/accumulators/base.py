"""What every metric accumulator does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

__all__ = ["Accumulator"]


class Accumulator(Protocol):
    """Sums of rows by group, from which metrics are computed.

    A group is a segment, or a segment's part that an interval is estimated from.
    """

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows.

        Args:
            groups: int64 [n], each at least 0.
            labels: float64 [n], or [n, k] of k labels.
            predictions: [n], or [n, k] of k classes, of the model's own float type, in which thresholds are taken.
            weights: float64 [n].
        """

    def update_samples(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, counts: np.ndarray
    ) -> None:
        """Adds rows to bootstrap samples, which are the parts of a group; what rows are worth is computed once for all of them.

        Args:
            groups, labels, predictions, weights: as for `update`.
            counts: float64 [samples, n], how often each row is in each sample.
        """

    def merge(self, other: Any) -> None:
        """Adds what another accumulator of the same kind holds; groups have the same meaning in both."""

    def folded(self, size: int, parts: int) -> Any:
        """Returns the sums of the first `size` groups, each of which is `parts` groups here, one after the other."""

    def without(self, size: int, parts: int) -> Any:
        """Returns for each group here what its whole has without it: the jackknife's leave-one-out sums."""

    def regrouped(self, mapping: np.ndarray, parts: int) -> Any:
        """Returns the sums by other numbers of groups, several of which may become one.

        Args:
            mapping: int64 [g], the new number of each group.
            parts: each group is so many groups here.
        """

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all that is held, by name."""

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds what `arrays` of another accumulator of the same kind returned."""

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns float64 [size] for each metric; NaN where it has no meaning."""
