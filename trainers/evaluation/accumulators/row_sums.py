"""Metrics that are ratios of sums over rows: means, errors, log loss, calibration, the confusion at a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.evaluation.accumulators.grouped_sums import DenseSums, ratio, summed_by_group
from trainers.evaluation.metric_names import threshold_text

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

__all__ = ["BinarySums", "CalibrationBins", "PinballSums", "RegressionSums", "clipped_probability", "threshold_of"]

_EPSILON = 1e-7  # a probability of exactly 0 or 1 counts in the log loss as this far away from it, as in Keras


def clipped_probability(values: np.ndarray) -> np.ndarray:
    """Returns probabilities no nearer to 0 and 1 than the log loss takes them."""
    clipped: np.ndarray = np.clip(values, _EPSILON, 1 - _EPSILON)
    return clipped


def threshold_of(predictions: np.ndarray, thresholds: Any) -> Any:
    """Returns thresholds as the predictions' own type has them, as NumPy does: of two float32 that are 0.3, none is above the other."""
    return np.asarray(thresholds, predictions.dtype if predictions.dtype.kind == "f" else np.float64)


class RegressionSums(DenseSums):
    """Errors, and the means of labels and predictions."""

    width = 5

    def row_values(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns what is added up of each row."""
        error = labels - predictions
        values = [weights, weights * labels, weights * predictions, weights * error * error, weights * np.abs(error)]
        return np.stack(values)

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group."""
        total, label, prediction, squared, absolute = self.padded(size)
        mse = ratio(squared, total)
        return {
            "mean_label": ratio(label, total),
            "mean_prediction": ratio(prediction, total),
            "calibration": np.divide(prediction, label, out=np.full(size, np.nan), where=label != 0),
            "mean_squared_error": mse,
            "root_mean_squared_error": np.sqrt(mse),
            "mean_absolute_error": ratio(absolute, total),
        }


class BinarySums(DenseSums):
    """Confusion at a threshold, log loss, Brier score and means of a probability.

    Args:
        threshold: probabilities above it are positive.
    """

    width = 9

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def _empty(self) -> Self:
        return type(self)(self.threshold)

    def row_values(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns what is added up of each row."""
        positive = predictions > threshold_of(predictions, self.threshold)
        predictions = predictions.astype(np.float64)
        yes, no = weights * labels, weights * (1 - labels)
        clipped = clipped_probability(predictions)
        loss = -(yes * np.log(clipped) + no * np.log1p(-clipped))
        error = labels - predictions
        values = [
            yes * positive, no * positive, yes * ~positive, no * ~positive, loss,
            weights, weights * predictions, weights * error * error, weights * np.abs(error),
        ]  # fmt: skip
        return np.stack(values)

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the metrics of each group, rates by TFMA's names."""
        tp, fp, fn, tn, loss, total, prediction, squared, absolute = self.padded(size)
        label = tp + fn
        mse = ratio(squared, total)
        return {
            "binary_crossentropy": ratio(loss, total),
            "binary_accuracy": ratio(tp + tn, total),
            "precision": ratio(tp, tp + fp),
            "recall": ratio(tp, label),
            "f1_score": ratio(2 * tp, 2 * tp + fp + fn),
            "tpr": ratio(tp, label),
            "fpr": ratio(fp, fp + tn),
            "tnr": ratio(tn, fp + tn),
            "fnr": ratio(fn, label),
            "predicted_positive_rate": ratio(tp + fp, total),
            "false_discovery_rate": ratio(fp, tp + fp),
            "false_omission_rate": ratio(fn, fn + tn),
            "mean_label": ratio(label, total),
            "mean_prediction": ratio(prediction, total),
            "calibration": np.divide(prediction, label, out=np.full(size, np.nan), where=label != 0),
            "mean_squared_error": mse,
            "root_mean_squared_error": np.sqrt(mse),
            "mean_absolute_error": ratio(absolute, total),
        }


class CalibrationBins(DenseSums):
    """Weight, labels and probabilities in equal bins of the probability: exact, wherever the probabilities lie.

    Args:
        bins: of [0, 1]; each but the last is open above.
    """

    def __init__(self, bins: int = 10) -> None:
        self.bins = bins
        self.width = 3 * bins
        super().__init__()

    def _empty(self) -> Self:
        return type(self)(self.bins)

    def update(self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows."""
        self._add(groups, predictions, np.stack([weights, weights * labels, weights * predictions]))

    def update_samples(
        self, groups: np.ndarray, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, counts: np.ndarray
    ) -> None:
        """Adds rows to samples: counts [samples, n] say how often each is in each of them."""
        values = np.stack([weights, weights * labels, weights * predictions])
        for sample, times in enumerate(counts):
            self._add(groups * len(counts) + sample, predictions, values * times)

    def _add(self, groups: np.ndarray, predictions: np.ndarray, values: np.ndarray) -> None:
        places = np.minimum((predictions.astype(np.float64) * self.bins).astype(np.int64), self.bins - 1)
        size = max(self.sums.shape[1], int(groups.max(initial=-1)) + 1)
        found = np.zeros((3, size * self.bins))
        found = summed_by_group(found, groups * self.bins + places, values)
        self.sums = self.padded(size) + found.reshape(3, size, self.bins).transpose(0, 2, 1).reshape(self.width, size)

    def of_group(self, group: int) -> np.ndarray:
        """Returns float64 [3, bins]: weight, and the sums of labels and of probabilities by weight."""
        return self.padded(group + 1)[:, group].reshape(3, self.bins)

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the mean distance between the share of positives and the mean probability over the bins, by weight."""
        weight, label, probability = self.padded(size).reshape(3, self.bins, size)
        return {"expected_calibration_error": ratio(np.abs(label - probability).sum(axis=0), weight.sum(axis=0))}


class PinballSums(DenseSums):
    """The pinball loss of predictions of a quantile.

    Args:
        quantile: between 0 and 1.
    """

    width = 2

    def __init__(self, quantile: float = 0.5) -> None:
        super().__init__()
        self.quantile = quantile

    def _empty(self) -> Self:
        return type(self)(self.quantile)

    def row_values(self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns what is added up of each row."""
        error = labels - predictions
        loss = np.maximum(self.quantile * error, (self.quantile - 1) * error)
        return np.stack([weights, weights * loss])

    def results(self, size: int) -> dict[str, np.ndarray]:
        """Returns the loss of each group."""
        total, loss = self.padded(size)
        return {f"pinball_loss@{threshold_text(self.quantile)}": ratio(loss, total)}
