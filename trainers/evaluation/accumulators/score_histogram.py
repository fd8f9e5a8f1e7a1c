"""Areas under curves, from a histogram of the probability: mergeable, with a bound on its error.

Rows of a bucket are taken for equal. The area under the ROC curve counts a pair of a positive and a negative in one bucket as half
right, as a tie; the exact area is at most half of such pairs' share away, which `auc_error_bound` is.
"""

from __future__ import annotations

import numpy as np

__all__ = ["BUCKETS", "ScoreHistogram"]

BUCKETS = 1 << 17
_PENDING = 1 << 20


class ScoreHistogram:
    """Weights of positives and negatives in each bucket of the probability, by group; empty buckets take no memory."""

    def __init__(self) -> None:
        self._keys: list[np.ndarray] = [np.zeros(0, np.int64)]  # group * BUCKETS + bucket
        self._sums: list[np.ndarray] = [np.zeros((3, 0))]  # positives, negatives, probability
        self._pending = 0

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows: probabilities in [0, 1]."""
        buckets = np.minimum((predictions * BUCKETS).astype(np.int64), BUCKETS - 1)
        values = np.stack([weights * labels, weights * (1 - labels), weights * predictions])
        self._append(*_summed(groups * BUCKETS + buckets, values))

    def merge(self, other: ScoreHistogram) -> None:
        """Adds the other's weights."""
        self._append(*other.whole())

    def folded(self, size: int, parts: int) -> ScoreHistogram:
        """Returns the histograms of groups of `parts` groups each."""
        keys, sums = self.whole()
        out = ScoreHistogram()
        out._append(*_summed(keys // (BUCKETS * parts) * BUCKETS + keys % BUCKETS, sums))
        return out

    def without(self, size: int, parts: int) -> ScoreHistogram:
        """Returns for each group here what its whole has without it."""
        keys, sums = self.whole()
        whole_keys, whole_sums = self.folded(size, parts).whole()
        groups: np.ndarray = whole_keys // BUCKETS
        buckets: np.ndarray = whole_keys % BUCKETS
        repeated = ((groups[:, None] * parts + np.arange(parts)) * BUCKETS + buckets[:, None]).reshape(-1)
        out = ScoreHistogram()
        out._append(
            *_summed(
                np.concatenate([repeated, keys]), np.concatenate([np.repeat(whole_sums, parts, axis=1), -sums], axis=1)
            )
        )
        return out

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group."""
        keys, sums = self.whole()
        sums = np.where(np.abs(sums) < 1e-12, 0.0, sums)  # what leaving a part out left of rounding
        names = ("auc", "auc_precision_recall", "expected_calibration_error", "auc_error_bound")
        out = {name: np.full(size, np.nan) for name in names}
        edges: np.ndarray = np.arange(size + 1) * BUCKETS
        starts = np.searchsorted(keys, edges)
        for group in range(size):
            part = slice(starts[group], starts[group + 1])
            positives, negatives, probability = sums[:, part]
            if len(positives):
                out["expected_calibration_error"][group] = _calibration_error(
                    keys[part] % BUCKETS, positives, negatives, probability
                )
            if positives.sum() > 0 and negatives.sum() > 0:
                out["auc"][group], out["auc_error_bound"][group] = _roc_area(positives, negatives)
            if positives.sum() > 0:
                out["auc_precision_recall"][group] = _pr_area(positives, negatives)
        return out

    def _append(self, keys: np.ndarray, sums: np.ndarray) -> None:
        self._keys.append(keys)
        self._sums.append(sums)
        self._pending += len(keys)
        if self._pending > _PENDING:
            self.whole()

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the keys, ascending, and their sums [3, n]."""
        if len(self._keys) > 1:
            keys, sums = _summed(np.concatenate(self._keys), np.concatenate(self._sums, axis=1))
            self._keys, self._sums, self._pending = [keys], [sums], 0
        return self._keys[0], self._sums[0]


def _summed(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct keys, ascending, and the sums of `values` [k, n] over the rows of each."""
    distinct, inverse = np.unique(keys, return_inverse=True)
    return distinct, np.stack([np.bincount(inverse, row, len(distinct)) for row in values])


def _roc_area(positives: np.ndarray, negatives: np.ndarray) -> tuple[float, float]:
    """Returns the area and how far the exact one may be away: buckets in ascending order."""
    below = np.cumsum(negatives) - negatives
    pairs = positives.sum() * negatives.sum()
    ties = float(positives @ negatives)
    return float((positives @ below + 0.5 * ties) / pairs), 0.5 * ties / float(pairs)


def _pr_area(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Davis and Goadrich's interpolation, as Keras has it: false positives grow linearly with true ones between two points."""
    tp = np.concatenate([[0.0], np.cumsum(positives[::-1])])
    flagged = tp + np.concatenate([[0.0], np.cumsum(negatives[::-1])])
    found, more = np.diff(tp), np.diff(flagged)
    slope = np.divide(found, more, out=np.zeros_like(found), where=more > 0)
    intercept = tp[1:] - slope * flagged[1:]
    ratio = np.divide(flagged[1:], flagged[:-1], out=np.ones_like(more), where=flagged[:-1] > 0)
    return float((slope * (found + intercept * np.log(ratio))).sum() / tp[-1])


def _calibration_error(
    buckets: np.ndarray, positives: np.ndarray, negatives: np.ndarray, probability: np.ndarray, bins: int = 10
) -> float:
    """Mean distance between the share of positives and the mean probability over equal bins, weighted by rows."""
    _, sums = _summed(buckets * bins // BUCKETS, np.stack([positives, positives + negatives, probability]))
    return float(np.abs(sums[0] - sums[2]).sum() / max(sums[1].sum(), 1e-300))
