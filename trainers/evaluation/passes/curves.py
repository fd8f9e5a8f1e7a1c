"""What a page draws of a model's answers to all rows: calibration, ROC, precision and recall, confusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainers.evaluation.accumulators.confusion_counts import ClassConfusion, ConfusionCounts
from trainers.evaluation.accumulators.row_sums import CalibrationBins
from trainers.evaluation.accumulators.score_histogram import ScoreHistogram

__all__ = ["Curves"]

_BINS = 20  # of the calibration
_POINTS = 200  # of a curve, at most
_MATRIX = 100  # most classes whose confusion is kept


class Curves:
    """Points of curves over all rows.

    Args:
        task: "binary", "multiclass" or another, which has none.
        classes: number of classes of "multiclass".
    """

    def __init__(self, task: str, classes: int = 2) -> None:
        self._confusion = ConfusionCounts() if task == "binary" else None
        self._calibration = CalibrationBins(_BINS)
        self._matrix = ClassConfusion(classes) if task == "multiclass" and classes <= _MATRIX else None

    def update(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        if self._confusion is not None:
            zeros = np.zeros(len(labels), np.int64)
            self._confusion.update(zeros, labels, predictions, weights)
            self._calibration.update(zeros, labels, predictions, weights)
        if self._matrix is not None:
            self._matrix.update(labels, predictions, weights)

    def merge(self, other: Curves) -> None:
        """Adds what the other has seen."""
        if self._confusion is not None and other._confusion is not None:
            self._confusion.merge(other._confusion)
            self._calibration.merge(other._calibration)
        if self._matrix is not None and other._matrix is not None:
            self._matrix.merge(other._matrix)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all that is held, by name."""
        found = {}
        if self._confusion is not None:
            found = {"confusion": self._confusion.sums, "calibration": self._calibration.sums}
        return found if self._matrix is None else {**found, "matrix": self._matrix.matrix}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Holds what `arrays` of curves of the same task returned."""
        if self._confusion is not None:
            self._confusion.sums, self._calibration.sums = arrays["confusion"].copy(), arrays["calibration"].copy()
        if self._matrix is not None:
            self._matrix.matrix = arrays["matrix"].copy()

    def as_json(self, histogram: ScoreHistogram | None) -> dict[str, Any]:
        """Returns JSON values.

        Args:
            histogram: of the probability over all rows, as group 0; None where the answer is no probability.

        Returns:
            "calibration": bins with low, high, weight, mean_prediction and mean_label, those without rows left out;
            "roc": points with threshold, fpr and tpr; "pr": points with threshold, recall and precision; "confusion": at each
            threshold tp, fp, fn and tn; "confusion_matrix": a row for each class of the label, of the weights of each answer.
            Keys that have no meaning for the task are left out.
        """
        out: dict[str, Any] = {}
        if histogram is not None:
            keys, sums = histogram.whole()
            first = slice(0, int(np.searchsorted(keys, histogram.slots)))
            out.update(_areas(histogram.scores(keys[first]), sums[:, first].astype(np.float64)))
        if self._confusion is not None:
            out["calibration"] = _calibration(self._calibration.of_group(0))
            out["confusion"] = [
                {"threshold": float(threshold), "tp": tp, "fp": fp, "fn": fn, "tn": tn}
                for threshold, tp, fp, fn, tn in zip(
                    self._confusion.thresholds, *(row.tolist() for row in self._confusion.at_thresholds(0))
                )
            ]
        if self._matrix is not None:
            out["confusion_matrix"] = self._matrix.matrix.tolist()
        return out


def _calibration(sums: np.ndarray) -> list[dict[str, float]]:
    weight, label, probability = sums
    return [
        {
            "low": i / _BINS,
            "high": (i + 1) / _BINS,
            "weight": float(weight[i]),
            "mean_prediction": float(probability[i] / weight[i]),
            "mean_label": float(label[i] / weight[i]),
        }
        for i in range(_BINS)
        if weight[i] > 0
    ]


def _areas(scores: np.ndarray, sums: np.ndarray) -> dict[str, list[dict[str, float]]]:
    """Points of both curves from the highest threshold down, evenly spread over the rows that become positive."""
    positives, negatives = sums[0][::-1], sums[1][::-1]
    tp, fp = np.cumsum(positives), np.cumsum(negatives)
    if not len(tp) or tp[-1] <= 0:
        return {}
    share = (tp + fp) / (tp[-1] + fp[-1])
    places = np.unique(np.searchsorted(share, np.linspace(0, 1, _POINTS - 1)).clip(max=len(tp) - 1))
    thresholds = scores[::-1][places]
    pr = [
        {"threshold": float(t), "recall": float(hit / tp[-1]), "precision": float(hit / (hit + false))}
        for t, hit, false in zip(thresholds, tp[places], fp[places])
        if hit + false > 0
    ]
    if fp[-1] <= 0:
        return {"pr": pr}
    roc = [{"threshold": 1.0, "fpr": 0.0, "tpr": 0.0}] + [
        {"threshold": float(t), "fpr": float(false / fp[-1]), "tpr": float(hit / tp[-1])}
        for t, hit, false in zip(thresholds, tp[places], fp[places])
    ]
    return {"roc": roc, "pr": pr}
