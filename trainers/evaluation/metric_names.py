"""What a metric is called: its short name, its class in TensorFlow Model Analysis, its name in results."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CLASSES", "RESULT_NAMES"]

_NAMES = {
    "auc": ("AUC", "auc"),
    "pr_auc": ("AUCPrecisionRecall", "auc_precision_recall"),
    "log_loss": ("BinaryCrossEntropy", "binary_crossentropy"),
    "accuracy": ("BinaryAccuracy", "binary_accuracy"),
    "mse": ("MeanSquaredError", "mean_squared_error"),
    "mae": ("MeanAbsoluteError", "mean_absolute_error"),
    "f1": ("F1Score", "f1_score"),
    "fpr": ("FPR", "fpr"),
    "fnr": ("FNR", "fnr"),
    "tpr": ("TPR", "tpr"),
}

CLASSES: Mapping[str, str] = {short: class_name for short, (class_name, _) in _NAMES.items()}
# What thresholds may say for a name in results: short and class names, and the number of rows, which is not a metric.
RESULT_NAMES: Mapping[str, str] = {
    **{short: name for short, (_, name) in _NAMES.items()},
    **dict(_NAMES.values()),
    "count": "example_count",
}
