"""The confusion of a probability and a label of two classes at many thresholds, and the matrix of several classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import summed_by_group
from trainers.evaluation.accumulators.row_sums import threshold_of

__all__ = ["THRESHOLDS", "ClassConfusion", "ConfusionCounts"]

THRESHOLDS = tuple(percent / 100 for percent in range(1, 100))


class ConfusionCounts:
    """Weights of positives and negatives between thresholds, by group: exact at each threshold.

    Args:
        thresholds: ascending; a probability above one is positive at it.
    """

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS) -> None:
        self.thresholds = np.asarray(thresholds, np.float64)
        self.sums = np.zeros((2, 0))

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows: probabilities [n] and labels in [0, 1]."""
        width = len(self.thresholds) + 1
        between = np.searchsorted(threshold_of(predictions, self.thresholds), predictions, side="left")
        values = np.stack([weights * labels, weights * (1 - labels)])
        self.sums = summed_by_group(self.sums, groups * width + between, values)

    def merge(self, other: ConfusionCounts) -> None:
        """Adds the other's weights; both have the same thresholds."""
        size = max(self.sums.shape[1], other.sums.shape[1])
        self.sums = _padded(self.sums, size) + _padded(other.sums, size)

    def at_thresholds(self, group: int) -> np.ndarray:
        """Returns float64 [4, thresholds] of a group: true and false positives, false and true negatives."""
        width = len(self.thresholds) + 1
        between = _padded(self.sums, (group + 1) * width)[:, group * width : (group + 1) * width]
        above = between.sum(axis=1, keepdims=True) - np.cumsum(between, axis=1)
        below = np.cumsum(between, axis=1)
        return np.stack([above[0], above[1], below[0], below[1]])[:, :-1]


class ClassConfusion:
    """Weight of each pair of a label's class and the class of the highest probability.

    Args:
        classes: number of classes.
    """

    def __init__(self, classes: int) -> None:
        self.matrix = np.zeros((classes, classes))

    def update(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows: whole numbers [n], probabilities [n, k]."""
        classes = len(self.matrix)
        pairs = labels.astype(np.int64) * classes + predictions.argmax(axis=1)
        self.matrix += np.bincount(pairs, weights, classes * classes).reshape(classes, classes)

    def merge(self, other: ClassConfusion) -> None:
        """Adds the other's weights."""
        self.matrix += other.matrix


def _padded(sums: np.ndarray, size: int) -> np.ndarray:
    return np.pad(sums[:, :size], ((0, 0), (0, max(0, size - sums.shape[1]))))
