"""TFMA's metric accumulators, filled row by row as TFMA itself does: for metrics that we have no accumulator of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.core.errors import ConfigError
from trainers.evaluation.metric_names import CLASSES

__all__ = ["Kernel", "MetricSet", "metric_inputs"]


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
            try:
                state[0] = self.combiner.add_input(state[0], row)
            except Exception as error:
                raise ConfigError(
                    f"metrics: {type(self.combiner).__name__} of TensorFlow Model Analysis refuses label {labels[i]} with answer "
                    f"{predictions[i]}: {error}"
                ) from error

    def merge(self, state: Any, other: Any) -> None:
        """Adds another state."""
        state[0] = self.combiner.merge_accumulators([state[0], other[0]])

    def output(self, state: Any) -> Any:
        """Returns the combiner's output: metric key to value."""
        return self.combiner.extract_output(state[0])


def metric_inputs(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> Any:
    """Returns rows as TFMA's combiners take them."""
    from tensorflow_model_analysis.metrics import metric_types

    return metric_types.StandardMetricInputs({"labels": labels, "predictions": predictions, "example_weights": weights})


class MetricSet:
    """The computations of some metrics as TFMA has them, row by row; one state of it belongs to each segment.

    Args:
        metrics: TFMA class names ("AUC"), or short names ("pr_auc", "log_loss").

    Raises:
        ConfigError: a metric that TFMA does not know.
    """

    def __init__(self, metrics: Sequence[str]) -> None:
        from tensorflow_model_analysis.metrics import metric_specs
        from tensorflow_model_analysis.proto import config_pb2

        configs = [_config(config_pb2, name) for name in dict.fromkeys(metrics)]
        config = config_pb2.EvalConfig(
            model_specs=[
                config_pb2.ModelSpec(label_key="label", prediction_key="prediction", example_weight_key="weight")
            ],
            metrics_specs=[config_pb2.MetricsSpec(metrics=configs)],
        )
        try:
            computations = metric_specs.to_computations(config.metrics_specs, eval_config=config)
        except Exception as error:
            raise ConfigError(f"metrics={list(metrics)}: TensorFlow Model Analysis refuses them: {error}") from error
        self._kernels, self._derived, seen = [], [], set()
        for computation in computations:
            names = tuple(str(key) for key in computation.keys)
            identity = (type(computation).__name__, type(getattr(computation, "combiner", None)).__name__, names)
            if identity in seen:
                continue
            seen.add(identity)
            if type(computation).__name__ == "MetricComputation":
                self._kernels.append(Kernel(computation.combiner))
            elif type(computation).__name__ == "DerivedMetricComputation":
                self._derived.append(computation)

    def create(self) -> list[Any]:
        """Returns the state of a segment without rows."""
        return [kernel.create() for kernel in self._kernels]

    def update(self, state: list[Any], labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        """Adds rows to a segment: labels [n], predictions [n] ([n, k] of k classes), weights [n]."""
        for kernel, part in zip(self._kernels, state):
            kernel.update(part, labels, predictions, weights)

    def merge(self, state: list[Any], other: list[Any]) -> None:
        """Adds another state to a segment's."""
        for kernel, mine, theirs in zip(self._kernels, state, other):
            kernel.merge(mine, theirs)

    def result(self, state: list[Any]) -> dict[str, float]:
        """Returns metric name to value."""
        values: dict[Any, Any] = {}
        with np.errstate(all="ignore"):
            for kernel, part in zip(self._kernels, state):
                values.update(kernel.output(part))
            for computation in self._derived:
                values.update(computation.result(values))
        return {_name(key): float(np.asarray(value)) for key, value in values.items() if _is_public(key, value)}


def _config(config_pb2: Any, name: str) -> Any:
    class_name = CLASSES.get(name, name)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", class_name):
        known = ", ".join(sorted([*CLASSES, "fairness"]))
        raise ConfigError(f"metrics: {name!r} is not a metric of this task; give TFMA class names, or {known}")
    return config_pb2.MetricConfig(class_name=class_name)


def _name(key: Any) -> str:
    return key.name if key.sub_key is None else f"{key.name}@{key.sub_key}"


def _is_public(key: Any, value: Any) -> bool:
    return not key.name.startswith("_") and np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiub"
