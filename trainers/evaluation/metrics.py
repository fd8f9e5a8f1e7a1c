"""Which metrics are asked for: those of our own accumulators, and any other of TensorFlow Model Analysis, row by row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.core.errors import ConfigError
from trainers.evaluation.kernels import Kernel
from trainers.evaluation.metric_names import CLASSES

__all__ = ["MetricSet", "default_metrics", "own_results"]

_DEFAULTS = {
    "binary": (
        "AUC", "AUCPrecisionRecall", "BinaryCrossEntropy", "BinaryAccuracy", "Precision", "Recall",
        "Calibration", "MeanLabel", "MeanPrediction",
    ),
    "regression": ("MeanSquaredError", "MeanAbsoluteError", "Calibration", "MeanLabel", "MeanPrediction"),
    "multiclass": ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy"),
}  # fmt: skip
# What Fairness Indicators compares between groups, all at a threshold of 0.5.
_FAIRNESS = ("FPR", "FNR", "TPR", "TNR", "PredictedPositiveRate", "FalseDiscoveryRate", "FalseOmissionRate")


_MEANS = {
    "Calibration": "calibration",
    "MeanLabel": "mean_label",
    "MeanPrediction": "mean_prediction",
    "MeanSquaredError": "mean_squared_error",
    "MeanAbsoluteError": "mean_absolute_error",
    "RootMeanSquaredError": "root_mean_squared_error",
}
# Class of TFMA (or Keras) to the result of our own accumulators that is the same.
_OWN: dict[str, dict[str, str]] = {
    "regression": _MEANS,
    "binary": {
        **_MEANS,
        "AUC": "auc",
        "AUCPrecisionRecall": "auc_precision_recall",
        "BinaryCrossEntropy": "binary_crossentropy",
        "BinaryAccuracy": "binary_accuracy",
        "Precision": "precision",
        "Recall": "recall",
        "F1Score": "f1_score",
        "FPR": "fpr",
        "FNR": "fnr",
        "TPR": "tpr",
        "TNR": "tnr",
        "PredictedPositiveRate": "predicted_positive_rate",
        "FalseDiscoveryRate": "false_discovery_rate",
        "FalseOmissionRate": "false_omission_rate",
        "ece": "expected_calibration_error",
    },
    "multiclass": {
        "SparseCategoricalAccuracy": "sparse_categorical_accuracy",
        "SparseCategoricalCrossentropy": "sparse_categorical_crossentropy",
        "macro_precision": "macro_precision",
        "macro_recall": "macro_recall",
        "macro_f1": "macro_f1_score",
        "micro_f1": "micro_f1_score",
    },
}


def own_results(metrics: Sequence[str], task: str, classes: int = 2) -> tuple[list[str], list[str]]:
    """Returns the results of our own accumulators that are asked for, and the names that only TFMA knows.

    Args:
        metrics: names of `MetricSet`; of several classes also "macro_precision", "macro_recall", "macro_f1", "micro_f1",
            "top_5" (fewer where there are fewer classes) and "per_class".
        task: "binary", "multiclass" or "regression".
        classes: number of classes.
    """
    own: list[str] = []
    others: list[str] = []
    for name in metrics:
        known = _OWN[task].get(CLASSES.get(name, name))
        if name == "fairness" and task == "binary":
            own += [_OWN[task][each] for each in _FAIRNESS]
        elif name == "per_class" and task == "multiclass":
            own += [f"{each}@classId:{index}" for index in range(classes) for each in ("precision", "recall")]
        elif name == "top_5" and task == "multiclass":
            own.append(f"top_{min(5, classes)}_accuracy")
        elif known is not None:
            own.append(known)
        else:
            others.append(name)
    return list(dict.fromkeys(own)), others


def default_metrics(task: str) -> tuple[str, ...]:
    """Returns the TFMA metrics computed where none are named; task is "binary", "multiclass" or "regression"."""
    return _DEFAULTS[task]


class MetricSet:
    """The computations of some metrics as TFMA has them, row by row; one state of it belongs to each segment.

    Args:
        metrics: TFMA class names ("AUC"), or short names ("pr_auc", "log_loss"); "fairness" stands for the rates of Fairness
            Indicators at a threshold of 0.5.
        task: "binary", "multiclass" or "regression".

    Raises:
        ConfigError: a metric that TFMA does not know.
    """

    def __init__(self, metrics: Sequence[str], task: str) -> None:
        from tensorflow_model_analysis.metrics import metric_specs
        from tensorflow_model_analysis.proto import config_pb2

        wanted = [part for name in metrics for part in (_FAIRNESS if name == "fairness" else (name,))]
        configs = [_config(config_pb2, name) for name in dict.fromkeys(wanted)]
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
        raise ConfigError(
            f"metrics: {name!r} is not a metric; give TFMA class names, or {', '.join(sorted([*CLASSES, 'fairness']))}"
        )
    return config_pb2.MetricConfig(class_name=class_name)


def _name(key: Any) -> str:
    return key.name if key.sub_key is None else f"{key.name}@{key.sub_key}"


def _is_public(key: Any, value: Any) -> bool:
    return not key.name.startswith("_") and np.ndim(value) == 0 and np.asarray(value).dtype.kind in "fiub"
