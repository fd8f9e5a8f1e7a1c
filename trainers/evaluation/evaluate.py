"""Quality of an exported model over a data set: overall, by segment, against thresholds and another model.

The model itself, with the transform graph inside, answers raw rows in large batches; TensorFlow Model Analysis defines
the metrics.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError, DataError, column_not_found
from engine.core.progress import Progress
from engine.storage.destination import check_file
from trainers.evaluation.accumulators.metric_table import Intervals
from trainers.evaluation.result import EvaluationResult, SliceResult
from trainers.evaluation.tally import Tally
from trainers.evaluation.thresholds import Threshold, failures, not_judged, parse_thresholds

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
    intervals: str = "jackknife",
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
        intervals: how 95 % intervals are estimated in the same pass: "jackknife" (20 parts of the rows, each left out),
            "bootstrap" (20 samples; costs as many times the metrics' time) or "none".

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
    if intervals not in (each.value for each in Intervals):
        raise ConfigError(f"intervals: got {intervals!r}; expected {', '.join(repr(i.value) for i in Intervals)}")
    judged = parse_thresholds(thresholds)
    wanted = _wanted_slices(slices, judged)
    dataset = Dataset.open(data) if isinstance(data, (str, os.PathLike, list, tuple)) else data
    path = latest_version(model_dir)
    digest = model_digest(path)  # of what is loaded next; compared again at the end
    models = {"model": LoadedModel(path, output)}
    if baseline is not None:
        models["baseline"] = LoadedModel(baseline, output)
    columns = _columns(dataset, models, label, wanted, weight)
    tally = Tally(models, label, wanted, weight, metrics, Intervals(intervals))
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
    overall, widths, segments, before = tally.results()
    result = EvaluationResult(
        model=str(path),
        model_sha256=digest,
        data=dataset.manifest.hash,
        label=label,
        rows=total,
        overall=overall,
        half_widths=widths,
        slices=segments,
        baseline=before,
        failures=failures(judged, overall, segments, before, widths),
        not_judged=not_judged(judged, segments),
        judged=bool(judged),
        curves=tally.curves(),
        baseline_curves=tally.curves("baseline"),
    )
    if out is not None:
        result.save(out)
    return result


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
                raise ConfigError(f"slices: {column_not_found([name], names)}")
    needed = [name for model in models.values() for name in model.columns([label])]
    for name in needed:
        if name not in names:
            raise ConfigError(f"the model takes feature {name!r}: {column_not_found([name], names)}")
    extra = [*([] if computed else [label]), *([weight] if weight else []), *(name for part in slices for name in part)]
    return list(dict.fromkeys([*needed, *extra]))
