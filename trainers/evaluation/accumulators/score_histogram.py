"""Areas under curves, from a histogram of the probability: mergeable, with a bound on its error.

Rows of a bucket are taken for equal. The area under the ROC curve counts a pair of a positive and a negative in one bucket as half
right, as a tie; the exact area is at most half of such pairs' share away, which `auc_error_bound` is.
"""

from __future__ import annotations

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import SparseSums

__all__ = ["BUCKETS", "ScoreHistogram"]

BUCKETS = 1 << 17


class ScoreHistogram(SparseSums):
    """Weights of positives and negatives in each bucket of the probability, by group."""

    width, slots = 3, BUCKETS

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows: probabilities in [0, 1]."""
        buckets = np.minimum((predictions * BUCKETS).astype(np.int64), BUCKETS - 1)
        values = np.stack([weights * labels, weights * (1 - labels), weights * predictions])
        self.add(groups, buckets, values)

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group."""
        keys, sums = self.whole()
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
    places = buckets * bins // BUCKETS
    difference = np.bincount(places, positives - probability, bins)
    return float(np.abs(difference).sum() / max(positives.sum() + negatives.sum(), 1e-300))
