"""What an evaluation adds up: the metrics of all rows, of each segment, and of the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from trainers.evaluation.accumulators.metric_table import Intervals, MetricTable
from trainers.evaluation.curves import Curves
from trainers.evaluation.metrics import MetricSet, default_metrics, own_results
from trainers.evaluation.result import SliceResult
from trainers.evaluation.segments import segments_of

__all__ = ["Tally"]

_Metrics = dict[str, float]


class Tally:
    """Sums of all rows and of each segment of the model, and of all rows of the baseline.

    Args:
        models: "model", and "baseline" where there is one.
        label: a transformed feature of the model or a column.
        slices: columns of each kind of segment.
        weight: column of the rows' weights, or None.
        metrics: names, or None for those that fit.
        intervals: how they are estimated.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        label: str,
        slices: Sequence[tuple[str, ...]],
        weight: str | None,
        metrics: Sequence[str] | None,
        intervals: Intervals,
    ) -> None:
        self.rows = 0
        self._models, self._label, self._weight = models, label, weight
        self._metrics, self._intervals = metrics, intervals
        self._slices = list(slices)
        self._kinds: dict[Any, _Kind] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch."""
        if batch.num_rows == 0:
            return
        labels = self._labels(batch)
        weights = self._weights(batch)
        predictions = self._models["model"].predict(batch)
        if not self._kinds:
            self._make_kinds(labels, predictions)
        ids: np.ndarray = self.rows + np.arange(batch.num_rows)
        self._kinds["model"].add([((), np.arange(batch.num_rows))], labels, predictions, weights, ids)
        for columns in self._slices:
            self._kinds[columns].add(list(segments_of(batch, columns)), labels, predictions, weights, ids)
        if "baseline" in self._models:
            other = self._models["baseline"].predict(batch)
            self._kinds["baseline"].add([((), np.arange(batch.num_rows))], labels, other, weights, ids)
        self.rows += batch.num_rows

    def results(self) -> tuple[_Metrics, _Metrics, list[SliceResult], _Metrics | None]:
        """Returns metrics of all rows and half of their intervals, the segments, and the baseline's metrics.

        Raises:
            DataError: the segments of a kind do not add up to all rows.
        """
        segments: list[SliceResult] = []
        for columns in self._slices:
            found = [
                SliceResult(key=dict(zip(columns, values)), rows=rows, metrics=metrics, half_widths=widths)
                for values, rows, metrics, widths in self._kinds[columns].results()
            ]
            found.sort(key=lambda s: (-s.rows, s.name))
            total = sum(s.rows for s in found)
            if total != self.rows:
                raise DataError(
                    f"segments of {', '.join(columns)} have {total:,} rows together, the data has {self.rows:,}"
                )
            segments += found
        ((_, _, overall, widths),) = self._kinds["model"].results()
        before = self._kinds["baseline"].results()[0][2] if "baseline" in self._kinds else None
        return overall, widths, segments, before

    def curves(self, kind: str = "model") -> dict[str, Any]:
        """Returns the curves over all rows of "model" or "baseline" as JSON values; {} where there is no such model."""
        return self._kinds[kind].curves() if kind in self._kinds else {}

    def _make_kinds(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        if predictions.ndim > 1:
            task = "multiclass"
        else:
            inside = predictions.min() >= 0 and predictions.max() <= 1
            task = "binary" if inside and labels.min() >= 0 and labels.max() <= 1 else "regression"
        names = default_metrics(task) if self._metrics is None else self._metrics
        classes = predictions.shape[1] if predictions.ndim > 1 else 2
        for key in ("model", *self._slices, *(("baseline",) if "baseline" in self._models else ())):
            self._kinds[key] = _Kind(names, task, self._intervals, classes, all_rows=isinstance(key, str))

    def _labels(self, batch: pa.RecordBatch) -> np.ndarray:
        model = self._models["model"]
        if model.computes(self._label):
            labels = model.transformed(batch, [self._label])[self._label].reshape(batch.num_rows, -1)
            if labels.shape[1] != 1:
                raise ConfigError(f"label {self._label!r} has {labels.shape[1]} values a row; evaluation takes one")
            labels = labels[:, 0]
        else:
            labels = _numbers(batch.column(self._label), self._label, "label", self.rows)
        if labels.dtype.kind not in "iufb":
            raise ConfigError(f"label {self._label!r} holds {labels.dtype} values; evaluation takes numbers")
        return labels.astype(np.float64)

    def _weights(self, batch: pa.RecordBatch) -> np.ndarray:
        if self._weight is None:
            return np.ones(batch.num_rows)
        return _numbers(batch.column(self._weight), self._weight, "weight", self.rows).astype(np.float64)


class _Kind:
    """The segments of one kind: all rows are one, of no columns."""

    def __init__(self, names: Sequence[str], task: str, intervals: Intervals, classes: int, all_rows: bool) -> None:
        self._wanted, others = own_results(names, task, classes)
        self._curves = Curves(task, classes) if all_rows else None
        self._table = MetricTable(task, intervals, classes)
        self._others = MetricSet(others, task) if others else None
        self._codes: dict[tuple[Any, ...], int] = {}
        self._rows: list[int] = []
        self._states: list[Any] = []

    def add(
        self,
        segments: Sequence[tuple[tuple[Any, ...], np.ndarray]],
        labels: np.ndarray,
        predictions: np.ndarray,
        weights: np.ndarray,
        ids: np.ndarray,
    ) -> None:
        """Adds rows; `segments` has the row numbers of each segment, each row once."""
        groups: np.ndarray = np.empty(len(labels), np.int64)
        for values, rows in segments:
            code = self._codes.setdefault(values, len(self._codes))
            if code == len(self._rows):
                self._rows.append(0)
                self._states.append(self._others.create() if self._others else None)
            self._rows[code] += len(rows)
            groups[rows] = code
            if self._others is not None:
                self._others.update(
                    self._states[code], labels[rows], predictions[rows], weights[rows].astype(np.float32)
                )
        self._table.update(groups, labels, predictions.astype(np.float64), weights, ids)
        if self._curves is not None:
            self._curves.update(labels, predictions.astype(np.float64), weights)

    def curves(self) -> dict[str, Any]:
        """Returns the curves as JSON values."""
        assert self._curves is not None  # kinds of all rows have them
        return self._curves.as_json(self._table.histogram(1))

    def results(self) -> list[tuple[tuple[Any, ...], int, _Metrics, _Metrics]]:
        """Returns (values, rows, metrics, half widths) of each segment."""
        size = len(self._codes)
        own, widths = self._table.results(size), self._table.half_widths(size)
        out = []
        for values, code in self._codes.items():
            metrics = {name: float(own[name][code]) for name in self._wanted}
            if self._others is not None:
                metrics.update(self._others.result(self._states[code]))
            metrics["example_count"] = float(self._rows[code])
            half = {name: float(widths[name][code]) for name in self._wanted if name in widths}
            out.append((values, self._rows[code], metrics, half))
        return out


def _numbers(column: pa.Array, name: str, role: str, before: int) -> np.ndarray:
    if column.null_count:
        row = before + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{role} {name!r} has no value; leave such rows out of the evaluation", record=row)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int64())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ConfigError(f"{role} {name!r} is {column.type}; evaluation takes a column of numbers")
    return column.to_numpy(zero_copy_only=False)
