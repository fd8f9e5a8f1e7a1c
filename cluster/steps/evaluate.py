"""evaluate: an exported model on raw rows, overall and by segment, held to thresholds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.core.configs import check_types, require
from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from engine import Dataset
    from trainers.evaluation.result import EvaluationResult
    from trainers.evaluation.tfma.eval_config import EvalSettings

__all__ = ["EvaluateConfig", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Metrics of an exported model, overall and by segment.

    Attributes:
        slices: each a list of columns, or of features that the model's graph computes, e.g. [["carrier"], ["carrier", "origin"]].
        buckets: numeric column of slices to a number of buckets of equally many rows, or to edges: {distance = 4}.
        max_segments: segments of one kind reported by themselves, the largest; the others become one.
        metrics: names, such as "auc" or a TFMA class; empty for those that fit the model.
        labels: output to label, where several outputs are measured in one pass; empty for the one label.
        thresholds: metric → least value of a model that may be pushed, e.g. {auc = 0.92}; or a table for each metric, see
            `trainers.evaluation.parse_thresholds`.
        baseline: another model that is measured on the same rows; empty for none.
        weight: column with the weight of each row; empty for none.
        query: column whose equal values make one ranking; empty for none.
        output: the model's output that holds the predictions; empty for its only one.
        task: "binary", "multiclass", "multilabel" or "regression"; empty where the first rows decide.
        label_vocabulary: file in the model's assets with the names of the classes, for labels that are text; empty for the only
            one that fits.
        show: most segments printed for each slice, the largest first.
        intervals: how 95 % intervals are estimated: "jackknife", "bootstrap" or "none".
        eval_config: file of TFMA's EvalConfig as proto text, whose slices, metrics and thresholds are added; empty for none.
        tfma: write TFMA's own files too, into a directory beside the result: evaluation.tfma beside evaluation.json.
        runner: "local", "flink", "spark" or a Beam runner.
        runner_options: of the runner, each "--KEY=VALUE".
    """

    slices: tuple[tuple[str, ...], ...] = ()
    buckets: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_segments: int = 1000
    metrics: tuple[str, ...] = ()
    labels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    thresholds: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baseline: str = ""
    weight: str = ""
    query: str = ""
    output: str = ""
    task: str = ""
    label_vocabulary: str = ""
    show: int = 20
    intervals: str = "jackknife"
    eval_config: str = ""
    tfma: bool = False
    runner: str = "local"
    runner_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from trainers.evaluation.metrics import TASKS, check_judged
        from trainers.evaluation.segments.buckets import parse_buckets
        from trainers.evaluation.thresholds import parse_thresholds

        check_types(self)
        require(self.show >= 0, "show", self.show, "0 or more")
        known = ("jackknife", "bootstrap", "none")
        require(self.intervals in known, "intervals", self.intervals, f"one of {', '.join(known)}")
        require(self.task in ("", *TASKS), "task", self.task, f"one of {', '.join(TASKS)}, or nothing")
        require(self.max_segments >= 1, "max_segments", self.max_segments, "1 or more")
        for name, label in self.labels.items():
            require(isinstance(label, str) and bool(label), f"labels.{name}", label, "the name of a label")
        require(not (self.labels and self.output), "output", self.output, "nothing where labels are given")
        parse_buckets(self.buckets)
        judged = parse_thresholds(self.thresholds)
        if not self.eval_config:  # which may ask for more metrics
            check_judged([threshold.metric for threshold in judged], self.metrics, self.task or None)


def run(
    config: EvaluateConfig, model: str, data: Dataset, label: str, *, out: str | os.PathLike[str] | None = None
) -> EvaluationResult:
    """Returns the result, with what thresholds it misses.

    Args:
        config: settings.
        model: SavedModel, or the directory of its versions (the newest).
        data: raw rows.
        label: transformed feature or column that is the label; empty for that of `config.eval_config`.
        out: file or URI that the result is written to as JSON, with Markdown beside it.

    Raises:
        ConfigError: a model, metric, slice or `out` that cannot work.
        DataError: bad data.
    """
    from engine.storage.destination import check_file
    from trainers.evaluation.evaluate import evaluate
    from trainers.evaluation.thresholds import parse_thresholds

    if config.tfma and out is None:
        raise ConfigError("tfma: TFMA's files go beside the result; give out")
    if out is not None:
        check_file(out)  # now, and not after the evaluation
    asked = _eval_settings(config)
    labels = dict(config.labels) or label or _labels(asked)
    result = evaluate(
        model,
        data,
        labels,
        slices=[list(columns) for columns in (*config.slices, *(asked.slices if asked else ()))],
        buckets=config.buckets,
        max_segments=config.max_segments,
        metrics=[*config.metrics, *(asked.metrics if asked else ())] or None,
        thresholds=[*parse_thresholds(config.thresholds), *(asked.thresholds if asked else ())],
        baseline=config.baseline or None,
        weight=config.weight or (asked.weight if asked else "") or None,
        query=config.query or (asked.query if asked else "") or None,
        output=config.output or (asked.output if asked and not config.labels else "") or None,
        task=config.task or None,
        label_vocabulary=config.label_vocabulary or None,
        intervals=(asked.intervals if asked else "") or config.intervals,
        runner=config.runner,
        runner_options=config.runner_options,
    )
    if asked is not None:
        result = dataclasses.replace(result, slices=[s for s in result.slices if asked.reports(s)])
    if out is not None:
        result.save(out)
    if config.tfma:
        from trainers.evaluation.tfma.result_files import write_tfma_files

        write_tfma_files(result, os.path.splitext(os.fspath(out or ""))[0] + ".tfma", data=", ".join(data.paths[:1]))
    return result


def _eval_settings(config: EvaluateConfig) -> EvalSettings | None:
    if not config.eval_config:
        return None
    from trainers.evaluation.tfma.eval_config import read_eval_config

    return read_eval_config(config.eval_config)


def _labels(asked: EvalSettings | None) -> str | dict[str, str]:
    if asked is None:
        raise ConfigError("no label; give one, or an eval_config that has one")
    return asked.labels[""] if "" in asked.labels else dict(asked.labels)
