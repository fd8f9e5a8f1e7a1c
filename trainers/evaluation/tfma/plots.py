"""The curves of a result as TFMA's plots: calibration, confusion at thresholds (which its ROC and PR plots draw), classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["plots_for_all_rows"]

_PARTS = ("tp", "fp", "fn", "tn")


def plots_for_all_rows(curves: Mapping[str, Any], output: str = "") -> bytes | None:
    """Returns a PlotsForSlice of all rows, or None where there is nothing to plot.

    Args:
        curves: of an `EvaluationResult`.
        output: name of the output, where the model has several.
    """
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2

    found = metrics_for_slice_pb2.PlotsForSlice()
    found.slice_key.SetInParent()
    entry = found.plot_keys_and_values.add()
    entry.key.output_name = output
    for each in curves.get("calibration", ()):
        bucket = entry.value.calibration_histogram_buckets.buckets.add(
            lower_threshold_inclusive=each["low"], upper_threshold_exclusive=each["high"]
        )
        bucket.num_weighted_examples.value = each["weight"]
        bucket.total_weighted_label.value = each["mean_label"] * each["weight"]
        bucket.total_weighted_refined_prediction.value = each["mean_prediction"] * each["weight"]
    for threshold, (tp, fp, fn, tn) in sorted(_confusions(curves).items()):
        entry.value.confusion_matrix_at_thresholds.matrices.add(
            threshold=threshold,
            true_positives=tp,
            false_positives=fp,
            false_negatives=fn,
            true_negatives=tn,
            precision=_ratio(tp, tp + fp),
            recall=_ratio(tp, tp + fn),
            false_positive_rate=_ratio(fp, fp + tn),
            f1=_ratio(2 * tp, 2 * tp + fp + fn),
            accuracy=_ratio(tp + tn, tp + fp + fn + tn),
            false_omission_rate=_ratio(fn, fn + tn),
        )
    if "confusion_matrix" in curves:
        matrix = entry.value.multi_class_confusion_matrix_at_thresholds.matrices.add(threshold=0.0)
        for actual, row in enumerate(curves["confusion_matrix"]):
            for predicted, weight in enumerate(row):
                if weight > 0:
                    matrix.entries.add(
                        actual_class_id=actual, predicted_class_id=predicted, num_weighted_examples=weight
                    )
    return bytes(found.SerializeToString()) if entry.value.ByteSize() else None


def _confusions(curves: Mapping[str, Any]) -> dict[float, tuple[float, ...]]:
    """Threshold, above which is positive, to weights: those at hundredths, and those of the points of the ROC."""
    found = {each["threshold"]: tuple(each[name] for name in _PARTS) for each in curves.get("confusion", ())}
    if not found:
        return found
    tp, fp, fn, tn = next(iter(found.values()))
    positives, negatives = tp + fn, fp + tn
    for point in curves.get("roc", ()):
        # A point of the ROC holds the score itself for positive, but for the first, at which nothing is.
        nothing = point["fpr"] == point["tpr"] == 0
        threshold = point["threshold"] if nothing else float(np.nextafter(point["threshold"], -1))
        tp, fp = point["tpr"] * positives, point["fpr"] * negatives
        found.setdefault(threshold, (tp, fp, positives - tp, negatives - fp))
    return found


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("nan")
