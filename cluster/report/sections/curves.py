"""The section of curves and confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.report.charts import dots, heat, lines
from cluster.report.model import Column, Section, Table, number
from cluster.report.runs import Run

__all__ = ["curves_section"]


def curves_section(runs: Sequence[Run]) -> Section:
    """Returns the section of calibration, ROC, precision and recall, and confusion."""
    blocks: list[Any] = []
    named = list(_named_curves(runs))
    calibration = [
        {"x": b["mean_prediction"], "y": b["mean_label"], "size": b["weight"], "s": name}
        for name, each in named
        for b in each.get("calibration", ())
    ]
    if calibration:
        title = "Calibration: what was predicted, and how often it was so"
        blocks.append(dots(title, calibration, "mean prediction", "share of positives"))
    for key, title, x, y in (
        ("roc", "ROC curve", "fpr", "tpr"),
        ("pr", "Precision and recall", "recall", "precision"),
    ):
        values = [{"x": p[x], "y": p[y], "s": name} for name, each in named for p in each.get(key, ())]
        if values:
            titles = {"fpr": "false positive rate", "tpr": "true positive rate"}
            blocks.append(lines(title, values, titles.get(x, x), titles.get(y, y), diagonal=key == "roc", unit=True))
    for name, each in named:
        blocks += _confusion(each, name if len(named) > 1 else "")
    missing: tuple[str, ...] = ()
    if not blocks:
        missing = (
            "No curves: they belong to an evaluation of a classifier; evaluate again where it was made by an earlier version.",
        )
    return Section(name="curves", title="Calibration, ROC, confusion", blocks=blocks, missing=missing)


def _named_curves(runs: Sequence[Run]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for run in runs:
        if run.evaluation is None:
            continue
        if run.evaluation.curves:
            yield (run.name if len(runs) > 1 else "model", run.evaluation.curves)
        if run.evaluation.baseline_curves:
            yield (f"{run.name}: baseline" if len(runs) > 1 else "baseline", run.evaluation.baseline_curves)


def _confusion(curves: Mapping[str, Any], name: str) -> list[Any]:
    suffix = f" ({name})" if name else ""
    blocks: list[Any] = []
    rows = curves.get("confusion", ())
    if rows:
        titles = ("threshold", "true positives", "false positives", "false negatives", "true negatives")
        columns = [Column(t, numeric=True) for t in (*titles, "precision", "recall", "false positive rate")]
        table = []
        for r in _spread(rows):
            tp, fp, fn, tn = (r[k] for k in ("tp", "fp", "fn", "tn"))
            rates = (_ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(fp, fp + tn))
            table.append([number(v) for v in (r["threshold"], tp, fp, fn, tn, *rates)])
        blocks.append(Table(caption=f"Confusion at thresholds{suffix}", columns=columns, rows=table))
    matrix = curves.get("confusion_matrix", ())
    if matrix:
        values = [{"s": str(i), "name": str(j), "x": v} for i, row in enumerate(matrix) for j, v in enumerate(row)]
        blocks.append(heat(f"Confusion: rows are labels, columns are answers{suffix}", values, "answer", "label"))
    return blocks


def _spread(rows: Sequence[Any], most: int = 21) -> list[Any]:
    """Returns rows evenly spread over all, the first and the last among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / (most - 1))] for i in range(most)]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
