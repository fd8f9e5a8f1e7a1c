"""Quality of an exported model over a data set: overall, by segment, against thresholds and another model.

The model itself, with the transform graph inside, answers raw rows in large batches, on the runners of the full passes; TensorFlow
Model Analysis defines the metrics.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, DataError
from engine.core.progress import Progress
from engine.storage.destination import check_file
from trainers.evaluation.accumulators.sampling import Intervals
from trainers.evaluation.models import loaded_models
from trainers.evaluation.outcome import outcome
from trainers.evaluation.passes.evaluation_pass import (
    EvaluationPass,
    NumberedReader,
    answered,
    cutter_of,
    first_batch,
    fitted,
    located,
    numbered_splits,
)
from trainers.evaluation.passes.plan import TallyPlan
from trainers.evaluation.passes.probe import find_heads
from trainers.evaluation.passes.tally import Tally
from trainers.evaluation.result import EvaluationResult, SliceResult
from trainers.evaluation.segments.buckets import parse_buckets
from trainers.evaluation.segments.columns import bucket_edges, columns_to_read, computed_features, wanted_slices
from trainers.evaluation.thresholds import Threshold, parse_thresholds

if TYPE_CHECKING:
    from engine.dataset.dataset import DataPaths, Dataset
    from transforms.batches.batch_cutter import BatchCutter

__all__ = ["EvaluationResult", "SliceResult", "Threshold", "evaluate", "parse_thresholds"]


def evaluate(
    model_dir: str | os.PathLike[str],
    data: Dataset | DataPaths,
    label: str | Mapping[str, str],
    *,
    slices: Sequence[Sequence[str] | str] = (),
    buckets: Mapping[str, Any] | None = None,
    max_segments: int = 1000,
    metrics: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    thresholds: Mapping[str, Any] | Sequence[Threshold] | None = None,
    baseline: str | os.PathLike[str] | None = None,
    weight: str | None = None,
    query: str | None = None,
    output: str | None = None,
    task: str | None = None,
    label_vocabulary: str | None = None,
    out: str | os.PathLike[str] | None = None,
    batch_rows: int = 16384,
    intervals: str = "jackknife",
    runner: Any = "local",
    runner_options: Sequence[str] = (),
) -> EvaluationResult:
    """Returns the metrics of a model over every row of a data set, and whether it may be served.

    Args:
        model_dir: SavedModel of `fullpass export`, or the directory of its versions (the newest is taken).
        data: raw data: an `engine.Dataset`, or what `Dataset.open` takes.
        label: a transformed feature, computed by the graph inside the model; or a column of the data, of numbers or of names of
            classes. For several outputs in one pass a mapping from output to label; metrics are then named "OUTPUT/METRIC".
        slices: segments, each a column or a list of columns whose values are crossed; columns of the raw data, or dense
            features that the graph inside the model computes.
        buckets: numeric column of slices to a number of buckets of equally many rows, or to a list of edges.
        max_segments: segments of one kind reported by themselves, the largest; the others become one, "(other)". Segments that
            a threshold judges are never among them.
        metrics: TFMA class names, or "auc", "pr_auc", "log_loss", "fairness", ..., see `own_results`; a mapping gives them by
            output; None takes those that fit the model's output (one probability, several classes, a number).
        thresholds: see `parse_thresholds`; with them the model is blessed or not.
        baseline: another model of the same kind, held to the same rows.
        weight: column of the data with the weight of each row.
        query: column whose equal values make one ranking, for "ndcg_at_10", "mrr", "map", "precision_at_10", "recall_at_10";
            None makes all rows of a segment one.
        output: which output holds the predictions; None where there is one only.
        task: "binary", "multiclass", "multilabel" or "regression"; None where the first rows decide.
        label_vocabulary: file in the model's assets with the names of the classes, for labels that are text; None takes the
            only one with a line for each class.
        out: JSON file to write the result to; a Markdown file goes beside it.
        batch_rows: rows a call of the model; fewer where they do not fit into memory with what the model makes of them.
        intervals: how 95 % intervals are estimated in the same pass: "jackknife" (20 parts of the rows, each left out),
            "bootstrap" (20 samples; costs several times the metrics' time) or "none".
        runner: "local" (all cores), "flink", "spark" or the name of a Beam runner, whose workers read the model and the data.
        runner_options: of the runner, each "--KEY=VALUE".

    Raises:
        ConfigError: no such model, label, segment or metric.
        DataError: damaged data, a label without a value, or a count that does not match the manifest.
    """
    from engine.dataset.dataset import as_dataset
    from trainers.export.digest import model_digest
    from trainers.export.export import latest_version

    if out is not None:
        check_file(out)
    if intervals not in (each.value for each in Intervals):
        raise ConfigError(f"intervals: got {intervals!r}; expected {', '.join(repr(i.value) for i in Intervals)}")
    if max_segments < 1:
        raise ConfigError(f"max_segments is {max_segments}; it takes 1 or more")
    metrics = [metrics] if isinstance(metrics, str) else metrics
    judged = parse_thresholds(thresholds)
    wanted = wanted_slices(slices, judged)
    dataset = as_dataset(data)
    path = latest_version(model_dir)
    digest = model_digest(path)  # of what is loaded next; compared again at the end
    labels: dict[str | None, str] = {}
    labels.update({output: label} if isinstance(label, str) else label)
    models = loaded_models(path, baseline, labels)
    computed = computed_features(dataset, models["model"], wanted)
    others = (("weight", weight), ("query", query))
    columns = columns_to_read(dataset, models, list(labels.values()), wanted, computed, others)
    manifest = dataset.manifest  # counts every file, which the splits then know
    total = dataset.num_records
    reader = NumberedReader(schema=dataset.schema, columns=tuple(columns), batch_rows=batch_rows)
    splits = numbered_splits(dataset)
    reader = fitted(reader, splits, models.values(), dataset)
    first = first_batch(reader, splits)
    if first is None:
        raise DataError("evaluation has no rows; give data with at least one")
    cut = cutter_of(models)
    first, answers = next(answered(cut, first))
    try:
        heads = find_heads(first, answers, models, labels, metrics, task, label_vocabulary)
    except DataError as error:
        raise located(error, first) from None
    _check_runner(heads, runner)
    plan = TallyPlan(
        heads=heads,
        slices=tuple(wanted),
        buckets=bucket_edges(dataset, models["model"], parse_buckets(buckets), wanted, computed),
        computed=tuple(computed),
        roles=tuple(models),
        weight=weight,
        query=query,
        intervals=Intervals(intervals),
    )
    tally = _run(plan, models, cut, reader, splits, total, runner, runner_options)
    if tally.rows != total:
        raise DataError(f"evaluation read {tally.rows:,} rows, the data set has {total:,}; its result is not used")
    if model_digest(path) != digest:
        raise DataError("changed while it was evaluated; its result is not used", path=str(path))
    result = outcome(
        tally,
        judged,
        max_segments,
        model=str(path),
        model_sha256=digest,
        data=manifest.hash,
        label=_shown_label(labels),
        weight=weight or "",
        query=query or "",
    )
    if out is not None:
        result.save(out)
    return result


def _check_runner(heads: Sequence[Any], runner: Any) -> None:
    for head in heads:
        if head.others and runner != "local":
            raise ConfigError(
                f"metrics {', '.join(head.others)}: TensorFlow Model Analysis computes them row by row, on the local runner alone; "
                f"runner is {runner!r}"
            )


def _run(
    plan: TallyPlan,
    models: Mapping[str, Any],
    cut: BatchCutter,
    reader: NumberedReader,
    splits: Sequence[Any],
    total: int,
    runner: Any,
    runner_options: Sequence[str],
) -> Tally:
    from transforms.runners import make_runner
    from transforms.runners.base import check_counts

    paths = {role: (str(model.path), model.output) for role, model in models.items()}
    evaluation: Any = EvaluationPass(plan=plan, models=paths, loaded=models, cut=cut)
    with Progress("evaluate", total) as progress:
        passed = make_runner(runner, runner_options).accumulate(evaluation, reader, splits, progress)
    check_counts(splits, passed.split_rows, total)
    return Tally.decode(plan, passed.parts[0, 0])


def _shown_label(labels: Mapping[str | None, str]) -> str:
    return ", ".join(label if len(labels) == 1 else f"{output}={label}" for output, label in labels.items())
