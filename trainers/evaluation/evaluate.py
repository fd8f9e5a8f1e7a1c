"""Quality of an exported model over a data set: overall, by segment, against thresholds and another model.

The model itself, with the transform graph inside, answers raw rows in large batches; TensorFlow Model Analysis defines
the metrics.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.core.progress import Progress
from engine.storage.destination import check_file
from trainers.evaluation.result import EvaluationResult, SliceResult
from trainers.evaluation.thresholds import Threshold, failures, parse_thresholds

__all__ = ["EvaluationResult", "SliceResult", "Threshold", "evaluate", "parse_thresholds"]


def evaluate(
    model_dir: str | os.PathLike[str],
    data: Any,
    label: str,
    *,
    slices: Sequence[Sequence[str] | str] = (),
    metrics: Sequence[str] | None = None,
    thresholds: Mapping[str, Any] | Sequence[Threshold] | None = None,
    baseline: str | os.PathLike[str] | None = None,
    weight: str | None = None,
    output: str | None = None,
    out: str | os.PathLike[str] | None = None,
    batch_rows: int = 16384,
) -> EvaluationResult:
    """Returns the metrics of a model over every row of a data set, and whether it may be served.

    Args:
        model_dir: SavedModel of `fullpass export`, or the directory of its versions (the newest is taken).
        data: raw data: an `engine.Dataset`, or what `Dataset.open` takes.
        label: a transformed feature, computed by the graph inside the model; or a column of the data.
        slices: segments, each a column or a list of columns of the raw data whose values are crossed.
        metrics: TFMA class names, or "auc", "pr_auc", "log_loss", "accuracy", "fairness", ...; None takes those that fit
            the model's output (one probability, several classes, a number).
        thresholds: see `parse_thresholds`; with them the model is blessed or not.
        baseline: another model of the same kind, held to the same rows.
        weight: column of the data with the weight of each row.
        output: which output holds the predictions; None where there is one only.
        out: JSON file to write the result to; a Markdown file goes beside it.
        batch_rows: rows a call of the model.

    Raises:
        ConfigError: no such model, label, segment or metric.
        DataError: damaged data, a label without a value, or a count that does not match the manifest.
    """
    from engine import Dataset
    from trainers.export.digest import model_digest
    from trainers.export.export import latest_version
    from trainers.export.predict import LoadedModel

    if out is not None:
        check_file(out)
    judged = parse_thresholds(thresholds)
    wanted = _wanted_slices(slices, judged)
    dataset = Dataset.open(data) if isinstance(data, (str, os.PathLike, list, tuple)) else data
    path = latest_version(model_dir)
    digest = model_digest(path)  # of what is loaded next; compared again at the end
    models = {"model": LoadedModel(path, output)}
    if baseline is not None:
        models["baseline"] = LoadedModel(baseline, output)
    columns = _columns(dataset, models, label, wanted, weight)
    tally = _Tally(models, label, wanted, weight, metrics)
    total = dataset.num_records
    with Progress("evaluate", total) as progress:
        for batch in dataset.read_batches(batch_rows=batch_rows, columns=columns):
            tally.add(batch)
            progress.advance(batch.num_rows)
    if tally.rows != total:
        raise DataError(f"evaluation read {tally.rows:,} rows, the data set has {total:,}; its result is not used")
    if total == 0:
        raise DataError("evaluation has no rows; give data with at least one")
    if model_digest(path) != digest:
        raise DataError("changed while it was evaluated; its result is not used", path=str(path))
    overall, segments, before = tally.results()
    result = EvaluationResult(
        model=str(path),
        model_sha256=digest,
        data=dataset.manifest.hash,
        label=label,
        rows=total,
        overall=overall,
        slices=segments,
        baseline=before,
        failures=failures(judged, overall, segments, before),
        judged=bool(judged),
    )
    if out is not None:
        result.save(out)
    return result


class _Tally:
    """Metric states: all rows and each segment of the model, all rows of the baseline."""

    def __init__(
        self,
        models: Mapping[str, Any],
        label: str,
        slices: Sequence[tuple[str, ...]],
        weight: str | None,
        metrics: Sequence[str] | None,
    ) -> None:
        self.rows = 0
        self._models, self._label, self._slices, self._weight, self._metrics = models, label, slices, weight, metrics
        self._set: Any = None
        self._states: dict[tuple[Any, ...], Any] = {}
        self._counts: dict[tuple[Any, ...], int] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch."""
        from trainers.evaluation.segments import segments_of

        if batch.num_rows == 0:
            return
        model = self._models["model"]
        labels = self._labels(batch)
        weights = self._weights(batch)
        predictions = model.predict(batch)
        if self._set is None:
            self._set = self._metric_set(labels, predictions)
        self._update(("model",), labels, predictions, weights)
        for columns in self._slices:
            for values, rows in segments_of(batch, columns):
                self._update((columns, values), labels[rows], predictions[rows], weights[rows])
        if "baseline" in self._models:
            self._update(("baseline",), labels, self._models["baseline"].predict(batch), weights)
        self.rows += batch.num_rows

    def results(self) -> tuple[dict[str, float], list[SliceResult], dict[str, float] | None]:
        """Returns metrics over all rows, the segments, and the baseline's metrics."""
        final = {key: self._final(key) for key in self._states}
        found = [
            SliceResult(key=dict(zip(key[0], key[1])), rows=self._counts[key], metrics=final[key])
            for key in self._states
            if len(key) == 2
        ]
        order = {columns: i for i, columns in enumerate(self._slices)}
        found.sort(key=lambda s: (order[tuple(s.key)], -s.rows, s.name))
        for columns in self._slices:
            rows = sum(s.rows for s in found if tuple(s.key) == columns)
            if rows != self.rows:
                raise DataError(
                    f"segments of {', '.join(columns)} have {rows:,} rows together, the data has {self.rows:,}"
                )
        return final[("model",)], found, final.get(("baseline",))

    def _final(self, key: tuple[Any, ...]) -> dict[str, float]:
        return {**self._set.result(self._states[key]), "example_count": float(self._counts[key])}

    def _update(self, key: tuple[Any, ...], labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> None:
        if key not in self._states:
            self._states[key], self._counts[key] = self._set.create(), 0
        self._set.update(self._states[key], labels, predictions, weights)
        self._counts[key] += len(labels)

    def _metric_set(self, labels: np.ndarray, predictions: np.ndarray) -> Any:
        from trainers.evaluation.metrics import MetricSet, default_metrics

        if predictions.ndim > 1:
            task = "multiclass"
        else:
            inside = predictions.min() >= 0 and predictions.max() <= 1
            task = "binary" if inside and labels.min() >= 0 and labels.max() <= 1 else "regression"
        return MetricSet(default_metrics(task) if self._metrics is None else self._metrics, task)

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
            return np.ones(batch.num_rows, np.float32)
        return _numbers(batch.column(self._weight), self._weight, "weight", self.rows).astype(np.float32)


def _numbers(column: pa.Array, name: str, role: str, before: int) -> np.ndarray:
    if column.null_count:
        row = before + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{role} {name!r} has no value; leave such rows out of the evaluation", record=row)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int64())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ConfigError(f"{role} {name!r} is {column.type}; evaluation takes a column of numbers")
    return column.to_numpy(zero_copy_only=False)


def _wanted_slices(slices: Sequence[Sequence[str] | str], judged: Sequence[Threshold]) -> list[tuple[str, ...]]:
    given = [(part,) if isinstance(part, str) else tuple(part) for part in slices]
    if any(not part for part in given):
        raise ConfigError(f"slices={list(slices)!r}: each needs at least one column")
    return list(dict.fromkeys([*given, *(part for threshold in judged for part in threshold.slices)]))


def _columns(
    dataset: Any, models: Mapping[str, Any], label: str, slices: Sequence[tuple[str, ...]], weight: str | None
) -> list[str]:
    names = dataset.schema.names
    computed = models["model"].computes(label)
    for role, wanted in (("label", [] if computed else [label]), ("weight", [weight] if weight else [])):
        for name in wanted:
            if name not in names:
                raise ConfigError(
                    f"{role} {name!r}: neither the data nor the model's transform graph has it; the data has {', '.join(names)}"
                )
    for part in slices:
        for name in part:
            if name not in names:
                raise ConfigError(f"slices: no column {name!r}; the data has {', '.join(names)}")
    needed = [name for model in models.values() for name in model.columns([label])]
    for name in needed:
        if name not in names:
            raise ConfigError(f"the model takes a feature {name!r}; the data has {', '.join(names)}")
    extra = [*([] if computed else [label]), *([weight] if weight else []), *(name for part in slices for name in part)]
    return list(dict.fromkeys([*needed, *extra]))
