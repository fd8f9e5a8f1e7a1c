"""TFMA's metric accumulators, filled row by row as TFMA itself does: for metrics that we have no accumulator of."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Kernel", "metric_inputs"]


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


def metric_inputs(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> Any:
    """Returns rows as TFMA's combiners take them."""
    from tensorflow_model_analysis.metrics import metric_types

    return metric_types.StandardMetricInputs({"labels": labels, "predictions": predictions, "example_weights": weights})
