"""What a metric is called: its short name, its class in TensorFlow Model Analysis, its name in results."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

import numpy as np

__all__ = [
    "CLASSES",
    "FAIRNESS_RATES",
    "RESULT_NAMES",
    "canonical",
    "is_number_text",
    "respelled",
    "result_name",
    "rounded",
    "threshold_text",
]

_NAMES = {
    "auc": ("AUC", "auc"),
    "pr_auc": ("AUCPrecisionRecall", "auc_precision_recall"),
    "log_loss": ("BinaryCrossEntropy", "binary_crossentropy"),
    "accuracy": ("BinaryAccuracy", "binary_accuracy"),
    "mse": ("MeanSquaredError", "mean_squared_error"),
    "rmse": ("RootMeanSquaredError", "root_mean_squared_error"),
    "mae": ("MeanAbsoluteError", "mean_absolute_error"),
    "f1": ("F1Score", "f1_score"),
    "fpr": ("FPR", "fpr"),
    "fnr": ("FNR", "fnr"),
    "tpr": ("TPR", "tpr"),
    "tnr": ("TNR", "tnr"),
}

CLASSES: Mapping[str, str] = {short: class_name for short, (class_name, _) in _NAMES.items()}
# What thresholds may say for a name in results: short and class names, and the number of rows, which is not a metric.
RESULT_NAMES: Mapping[str, str] = {
    **{short: name for short, (_, name) in _NAMES.items()},
    **dict(_NAMES.values()),
    "count": "example_count",
}
# What Fairness Indicators compares between groups.
FAIRNESS_RATES = ("fpr", "fnr", "tpr", "tnr", "predicted_positive_rate", "false_discovery_rate", "false_omission_rate")
# Of several classes the same question has another name.
_OF_CLASSES = {
    "binary_accuracy": ("sparse_categorical_accuracy", "subset_accuracy"),
    "binary_crossentropy": ("sparse_categorical_crossentropy",),
    "f1_score": ("macro_f1_score",),
    "auc": ("macro_auc",),
}


_TFMA = {
    "Calibration": "calibration",
    "MeanLabel": "mean_label",
    "MeanPrediction": "mean_prediction",
    "Precision": "precision",
    "Recall": "recall",
    "PredictedPositiveRate": "predicted_positive_rate",
    "FalseDiscoveryRate": "false_discovery_rate",
    "FalseOmissionRate": "false_omission_rate",
    "BinaryCrossentropy": "binary_crossentropy",
    "FalsePositiveRate": "fpr",
    "FalseNegativeRate": "fnr",
    "ece": "expected_calibration_error",
    "f1": "f1_score",
}


def canonical(name: str) -> str:
    """Returns the name in results of a metric by its short name or its class in TFMA; other names are left as they are."""
    found = RESULT_NAMES.get(name, _TFMA.get(name, name))
    return re.sub(r"^(macro|micro|weighted)_f1$", r"\1_f1_score", found)


def is_number_text(text: str) -> bool:
    """Whether what stands after "@" in a metric's name is a threshold: digits with a point somewhere, or an exponent."""
    return re.fullmatch(r"(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", text) is not None


def threshold_text(threshold: float | str) -> str:
    """Returns a threshold as names of results have it: every digit that tells it from another number, and no more."""
    return np.format_float_positional(float(threshold), trim="-")


def respelled(name: str) -> str:
    """Returns a name in results with its threshold as `threshold_text` has it: older results say `recall@1e-05`."""
    base, at, threshold = name.rpartition("@")
    return f"{base}{at}{threshold_text(threshold)}" if at and is_number_text(threshold) else name


def rounded(name: str) -> str:
    """Returns a name in results with its threshold as older results have it, which were measured at its first six digits."""
    base, at, threshold = name.rpartition("@")
    return f"{base}{at}{float(threshold):g}" if at and is_number_text(threshold) else name


def result_name(metric: str, computed: Container[str]) -> str:
    """Returns the name in results of a metric, by whatever name it is asked for; one that was not computed is left as it is.

    Args:
        metric: short name, class name of TFMA or name in results; with "@0.3" for a threshold, "OUTPUT/" for one of several
            outputs.
        computed: names in the results.
    """
    if metric in computed:
        return metric
    output, slash, rest = metric.rpartition("/")
    base, at, threshold = rest.partition("@")
    name = canonical(base)
    if is_number_text(threshold):
        threshold = threshold_text(threshold)
    for each in (name, *_OF_CLASSES.get(name, ())):
        if f"{output}{slash}{each}{at}{threshold}" in computed:
            return f"{output}{slash}{each}{at}{threshold}"
    return f"{output}{slash}{name}{at}{threshold}"
