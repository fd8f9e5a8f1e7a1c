"""TFMA's metric accumulators, filled from whole batches.

TFMA's combiners take their input row by row in Python, and nearly all binary metrics are derived from the outputs of a
few of them. Rows that such a combiner cannot tell apart (the same bucket of its histogram, the same side of its
thresholds) can be added up in numpy first. What is summed is the same, in another order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Kernel", "kernel_for"]

_EPSILON = 1e-7
_PENDING = 1 << 16  # entries of a histogram that wait for being merged


class Kernel:
    """Fills the accumulator of any combiner of TFMA, row by row as TFMA itself does."""

    def __init__(self, combiner: Any) -> None:
        self.combiner = combiner
        combiner.setup()  # Beam would call it; the combiner of Keras metrics builds them there

    def create(self) -> Any:
        """Returns an empty state."""
        return [self.combiner.create_accumulator()]

    def update(self, state: Any, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows: labels [n], predictions [n] or [n, k], float32 weights [n]."""
        for i in range(len(labels)):
            row = metric_inputs(labels[i : i + 1], np.atleast_1d(predictions[i]), weights[i : i + 1])
            state[0] = self.combiner.add_input(state[0], row)

    def output(self, state: Any) -> Any:
        """Returns the combiner's output: metric key to value."""
        return self.combiner.extract_output(state[0])


class CrossEntropyKernel(Kernel):
    """For `_BinaryCrossEntropyCombiner`: it averages over the values of an example, so rows of one weight become one example.

    It has no answer to a probability of exactly 0 or 1: those are clipped as Keras does.
    """

    def update(self, state: Any, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        clipped = np.clip(predictions.astype(np.float64), _EPSILON, 1 - _EPSILON)
        for weight in np.unique(weights):
            mine: Any = weights == weight
            total = np.array([float(weight) * np.count_nonzero(mine)])
            state[0] = self.combiner.add_input(state[0], metric_inputs(labels[mine], clipped[mine], total))


class HistogramKernel(Kernel):
    """For `_CalibrationHistogramCombiner`: sums of label, prediction and weight in each bucket of the prediction."""

    def create(self) -> Any:
        return {"ids": [], "sums": [], "pending": 0}

    def update(self, state: Any, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        combiner = self.combiner
        exact: Any = predictions.astype(np.float64)
        buckets = combiner._num_buckets
        place = (exact - combiner._left) / combiner._range * buckets + 1
        ids = np.clip(np.floor(place), 0, buckets + 1).astype(np.int64)
        values = np.stack([labels * weights, exact * weights, weights], dtype=np.float64)
        self._append(state, *_summed(ids, values))

    def _append(self, state: Any, ids: np.ndarray, sums: np.ndarray) -> None:
        state["ids"].append(ids)
        state["sums"].append(sums)
        state["pending"] += len(ids)
        if state["pending"] > _PENDING:
            self._merge(state)
            state["pending"] = 0

    @staticmethod
    def _merge(state: Any) -> tuple[np.ndarray, np.ndarray]:
        if not state["ids"]:
            return np.zeros(0, np.int64), np.zeros((3, 0))
        ids, sums = _summed(np.concatenate(state["ids"]), np.concatenate(state["sums"], axis=1))
        state["ids"], state["sums"] = [ids], [sums]
        return ids, sums

    def output(self, state: Any) -> Any:
        from tensorflow_model_analysis.metrics.calibration_histogram import Bucket

        ids, sums = self._merge(state)
        rows = zip(ids.tolist(), *sums.tolist())
        return self.combiner.extract_output(
            {i: Bucket(i, label, prediction, weight) for i, label, prediction, weight in rows}
        )


class ConfusionKernel(Kernel):
    """For `_BinaryConfusionMatrixCombiner`: the weight of each label on each side of the thresholds."""

    def __init__(self, combiner: Any) -> None:
        super().__init__(combiner)
        self._thresholds = np.array(sorted(combiner._binary_confusion_matrices._thresholds), np.float64)

    def create(self) -> Any:
        return {}

    def update(self, state: Any, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        exact: Any = predictions.astype(np.float64)
        sides: Any = np.searchsorted(self._thresholds, exact, side="left")
        for label in np.unique(labels):
            mine: Any = labels == label
            ids, sums = _summed(sides[mine], weights[mine].astype(np.float64)[None])
            for side, weight in zip(ids.tolist(), sums[0].tolist()):
                one = float(exact[np.flatnonzero(mine & (sides == side))[0]])
                old = state.get((side, label))
                state[side, label] = (one, weight) if old is None else (old[0], old[1] + weight)

    def output(self, state: Any) -> Any:
        accumulator = self.combiner.create_accumulator()
        if state:
            labels = np.array([label for _, label in state])
            predictions, weights = (np.array(part, np.float64) for part in zip(*state.values()))
            accumulator = self.combiner.add_input(accumulator, metric_inputs(labels, predictions, weights))
        return self.combiner.extract_output(accumulator)


class ErrorKernel(Kernel):
    """For the mean squared and absolute error: one row whose error is the mean error of all."""

    def __init__(self, combiner: Any) -> None:
        super().__init__(combiner)
        self._squared = type(combiner).__name__ == "_MeanSquaredErrorCombiner"

    def create(self) -> Any:
        return np.zeros(2)

    def update(self, state: Any, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        exact: Any = weights.astype(np.float64)
        errors = np.abs(labels - predictions.astype(np.float64))
        state += ((errors * errors if self._squared else errors) @ exact, exact.sum())

    def output(self, state: Any) -> Any:
        accumulator = self.combiner.create_accumulator()
        if state[1]:
            error = state[0] / state[1]
            row = (np.array([part]) for part in (np.sqrt(error) if self._squared else error, 0.0, state[1]))
            accumulator = self.combiner.add_input(accumulator, metric_inputs(*row))
        return self.combiner.extract_output(accumulator)


class SumsKernel(Kernel):
    """For `_WeightedLabelsPredictionsExamplesCombiner`: three sums, handed over as one row of the mean."""

    def create(self) -> Any:
        return np.zeros(3)

    def update(self, state: Any, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        exact: Any = weights.astype(np.float64)
        state += (labels @ exact, predictions.astype(np.float64) @ exact, exact.sum())

    def output(self, state: Any) -> Any:
        accumulator = self.combiner.create_accumulator()
        if state[2]:
            row = (np.array([part]) for part in (state[0] / state[2], state[1] / state[2], state[2]))
            accumulator = self.combiner.add_input(accumulator, metric_inputs(*row))
        return self.combiner.extract_output(accumulator)


_KERNELS = {
    "_CalibrationHistogramCombiner": HistogramKernel,
    "_BinaryConfusionMatrixCombiner": ConfusionKernel,
    "_WeightedLabelsPredictionsExamplesCombiner": SumsKernel,
    "_BinaryCrossEntropyCombiner": CrossEntropyKernel,
    "_MeanAbsoluteErrorCombiner": ErrorKernel,
    "_MeanSquaredErrorCombiner": ErrorKernel,
}


def kernel_for(combiner: Any, binary: bool) -> Kernel:
    """Returns what fills the combiner's accumulator from batches.

    Args:
        combiner: of a TFMA metric computation.
        binary: predictions are one number a row.
    """
    key = getattr(combiner, "_key", None) or getattr(combiner, "_metric_key", None)
    simple = binary and key is not None and key.sub_key is None and getattr(combiner, "_aggregation_type", None) is None
    found = _KERNELS.get(type(combiner).__name__) if simple else None
    return (found or Kernel)(combiner)


def metric_inputs(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> Any:
    """Returns rows as TFMA's combiners take them."""
    from tensorflow_model_analysis.metrics import metric_types

    return metric_types.StandardMetricInputs({"labels": labels, "predictions": predictions, "example_weights": weights})


def _summed(ids: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct ids, ascending, and the sums of `values` [k, n] over the rows of each."""
    distinct, inverse = np.unique(ids, return_inverse=True)
    return distinct, np.stack([np.bincount(inverse, row, len(distinct)) for row in values])
