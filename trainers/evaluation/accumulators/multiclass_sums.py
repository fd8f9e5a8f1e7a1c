"""Metrics of several classes of which each row has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import DenseSums, ratio
from trainers.evaluation.accumulators.row_sums import clipped_probability

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["MulticlassSums", "mean_of_classes", "weighted_mean"]


class MulticlassSums(DenseSums):
    """Accuracy, cross entropy and the confusion of each class, for integer labels and a probability a class.

    Args:
        classes: number of classes.
        top: the label counts as found among so many of the highest probabilities; each number gives an accuracy.
    """

    def __init__(self, classes: int = 2, top: Sequence[int] = (5,)) -> None:
        self.classes, self.top = classes, tuple(dict.fromkeys(min(k, classes) for k in top))
        self.width = 3 + len(self.top) + 3 * classes
        super().__init__()

    def _empty(self) -> Self:
        return type(self)(self.classes, self.top)

    def row_values(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns what is added up of each row; labels are whole numbers from 0 on, below the number of classes."""
        truth: np.ndarray = labels.astype(np.int64)
        predictions = predictions.astype(np.float64)
        chosen = predictions.argmax(axis=1)
        own = predictions[np.arange(len(truth)), truth]
        share = clipped_probability(own / predictions.sum(axis=1))
        rank: np.ndarray = (predictions > own[:, None]).sum(axis=1)
        hit = chosen == truth
        first = 3 + len(self.top)
        values = np.zeros((self.width, len(truth)))
        values[:3] = weights, weights * hit, -weights * np.log(share)
        for place, k in enumerate(self.top):
            values[3 + place] = weights * (rank < k)
        rows = np.arange(len(truth))
        values[first + truth, rows] = weights  # of the class
        values[first + self.classes + chosen, rows] = weights  # said to be of the class
        values[first + 2 * self.classes + truth[hit], rows[hit]] = weights[hit]  # both
        return values

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group; `precision@classId:2` is that of one class."""
        sums, first = self.padded(size), 3 + len(self.top)
        total, right, loss = sums[:3]
        of, said, both = sums[first:].reshape(3, self.classes, size)
        precision, recall, f1 = ratio(both, said), ratio(both, of), ratio(2 * both, said + of)
        # As in scikit-learn, what is 0 of 0 counts as 0 for a class that occurs in labels or answers, and other classes do not.
        occurs = said + of > 0
        out = {
            "sparse_categorical_accuracy": ratio(right, total),
            "sparse_categorical_crossentropy": ratio(loss, total),
            "balanced_accuracy": mean_of_classes(recall),
            "micro_precision": ratio(right, total),  # each row has one label and one answer
            "micro_recall": ratio(right, total),
            "micro_f1_score": ratio(right, total),
        }
        for k, top in zip(self.top, sums[3:first]):
            out[f"top_{k}_accuracy"] = ratio(top, total)
        for name, values in (("precision", precision), ("recall", recall), ("f1_score", f1)):
            known = np.where(occurs & np.isnan(values), 0.0, values)
            out[f"macro_{name}"] = mean_of_classes(known)
            out[f"weighted_{name}"] = weighted_mean(known, of)
            out.update({f"{name}@classId:{index}": row for index, row in enumerate(values)})
        return out


def mean_of_classes(by_class: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes [k, n] whose value is a number."""
    known = ~np.isnan(by_class)
    return ratio(np.where(known, by_class, 0).sum(axis=0), known.sum(axis=0).astype(float))


def weighted_mean(by_class: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes [k, n] whose value is a number, by the weight [k, n] of each."""
    known = np.where(np.isnan(by_class), 0.0, weights)
    return ratio((np.nan_to_num(by_class) * known).sum(axis=0), known.sum(axis=0))
