"""Metrics that are ratios of sums over rows: means, errors, log loss, calibration, the confusion at a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainers.evaluation.accumulators.base import summed_by_group

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["BinarySums", "MulticlassSums", "RegressionSums"]

_EPSILON = 1e-7  # a probability of exactly 0 or 1 counts in the log loss as this far away from it, as in Keras


class _RowSums:
    """Sums of a few values of each row, by group."""

    width: int

    def __init__(self) -> None:
        self.sums = np.zeros((self.width, 0))

    def merge(self, other: _RowSums) -> None:
        """Adds the other's sums."""
        size = max(self.sums.shape[1], other.sums.shape[1])
        self.sums = self._padded(size) + other._padded(size)

    def folded(self, size: int, parts: int) -> Self:
        """Returns the sums of groups of `parts` groups each."""
        out = self._empty()
        out.sums = self._padded(size * parts).reshape(self.width, size, parts).sum(axis=2)
        return out

    def without(self, size: int, parts: int) -> Self:
        """Returns for each group here what its whole has without it: the jackknife's leave-one-out sums."""
        out = self._empty()
        split = self._padded(size * parts).reshape(self.width, size, parts)
        out.sums = (split.sum(axis=2, keepdims=True) - split).reshape(self.width, -1)
        return out

    def _empty(self) -> Self:
        return type(self)()

    def _padded(self, size: int) -> np.ndarray:
        have = self.sums[:, :size]
        return np.pad(have, ((0, 0), (0, size - have.shape[1])))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where nothing is divided by nothing, and where there is nothing to divide by."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


class RegressionSums(_RowSums):
    """Errors, and the means of labels and predictions."""

    width = 5

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        error = labels - predictions
        values = [weights, weights * labels, weights * predictions, weights * error * error, weights * np.abs(error)]
        self.sums = summed_by_group(self.sums, groups, np.stack(values))

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group."""
        total, label, prediction, squared, absolute = self._padded(size)
        mse = _ratio(squared, total)
        return {
            "mean_label": _ratio(label, total),
            "mean_prediction": _ratio(prediction, total),
            "calibration": np.divide(prediction, label, out=np.full(size, np.nan), where=label != 0),
            "mean_squared_error": mse,
            "root_mean_squared_error": np.sqrt(mse),
            "mean_absolute_error": _ratio(absolute, total),
        }


class BinarySums(_RowSums):
    """Confusion at a threshold, log loss, Brier score and means of a probability.

    Args:
        threshold: probabilities above it are positive.
    """

    width = 9

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        positive = predictions > self.threshold
        yes, no = weights * labels, weights * (1 - labels)
        clipped = np.clip(predictions, _EPSILON, 1 - _EPSILON)
        loss = -(yes * np.log(clipped) + no * np.log1p(-clipped))
        error = labels - predictions
        values = [
            yes * positive, no * positive, yes * ~positive, no * ~positive, loss,
            weights, weights * predictions, weights * error * error, weights * np.abs(error),
        ]  # fmt: skip
        self.sums = summed_by_group(self.sums, groups, np.stack(values))

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group, rates by TFMA's names."""
        tp, fp, fn, tn, loss, total, prediction, squared, absolute = self._padded(size)
        label = tp + fn
        mse = _ratio(squared, total)
        return {
            "binary_crossentropy": _ratio(loss, total),
            "binary_accuracy": _ratio(tp + tn, total),
            "precision": _ratio(tp, tp + fp),
            "recall": _ratio(tp, label),
            "f1_score": _ratio(2 * tp, 2 * tp + fp + fn),
            "tpr": _ratio(tp, label),
            "fpr": _ratio(fp, fp + tn),
            "tnr": _ratio(tn, fp + tn),
            "fnr": _ratio(fn, label),
            "predicted_positive_rate": _ratio(tp + fp, total),
            "false_discovery_rate": _ratio(fp, tp + fp),
            "false_omission_rate": _ratio(fn, fn + tn),
            "mean_label": _ratio(label, total),
            "mean_prediction": _ratio(prediction, total),
            "calibration": np.divide(prediction, label, out=np.full(size, np.nan), where=label != 0),
            "mean_squared_error": mse,
            "root_mean_squared_error": np.sqrt(mse),
            "mean_absolute_error": _ratio(absolute, total),
        }


def _zero_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where, 0.0, values)


class MulticlassSums(_RowSums):
    """Accuracy, cross entropy and the confusion of each class, for integer labels and a probability a class.

    Args:
        classes: number of classes.
        top_k: the label counts as found among so many of the highest probabilities.
    """

    def __init__(self, classes: int = 2, top_k: int = 5) -> None:
        self.classes, self.top_k = classes, min(top_k, classes)
        self.width = 4 + 3 * classes
        super().__init__()

    def _empty(self) -> Self:
        return type(self)(self.classes, self.top_k)

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows; labels are whole numbers from 0 on."""
        truth: np.ndarray = labels.astype(np.int64)
        chosen = predictions.argmax(axis=1)
        own = predictions[np.arange(len(truth)), truth]
        share = np.clip(own / predictions.sum(axis=1), _EPSILON, 1 - _EPSILON)
        rank: np.ndarray = (predictions > own[:, None]).sum(axis=1)
        hit = chosen == truth
        values = np.zeros((self.width, len(truth)))
        values[:4] = weights, weights * hit, weights * (rank < self.top_k), -weights * np.log(share)
        rows = np.arange(len(truth))
        values[4 + truth, rows] = weights  # of the class
        values[4 + self.classes + chosen, rows] = weights  # said to be of the class
        values[4 + 2 * self.classes + truth[hit], rows[hit]] = weights[hit]  # both
        self.sums = summed_by_group(self.sums, groups, values)

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group; `precision@classId:2` is that of one class."""
        sums = self._padded(size)
        total, right, top, loss = sums[:4]
        of, said, both = sums[4:].reshape(3, self.classes, size)
        precision, recall = _ratio(both, said), _ratio(both, of)
        f1 = _ratio(2 * both, said + of)
        out = {
            "sparse_categorical_accuracy": _ratio(right, total),
            "sparse_categorical_crossentropy": _ratio(loss, total),
            f"top_{self.top_k}_accuracy": _ratio(top, total),
            "micro_f1_score": _ratio(right, total),  # each row has one label and one answer
            "macro_precision": _mean(_zero_where(precision, (said == 0) & (of > 0))),
            "macro_recall": _mean(recall),
            "macro_f1_score": _mean(f1),
        }
        for index in range(self.classes):
            out[f"precision@classId:{index}"] = precision[index]
            out[f"recall@classId:{index}"] = recall[index]
        return out


def _mean(by_class: np.ndarray) -> np.ndarray:
    """Of the classes that occur."""
    known = ~np.isnan(by_class)
    return _ratio(np.where(known, by_class, 0).sum(axis=0), known.sum(axis=0).astype(float))
