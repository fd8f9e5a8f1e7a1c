"""evaluate: an exported model on raw rows, overall and by segment, held to thresholds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.core.configs import check_types, require

if TYPE_CHECKING:
    from engine import Dataset
    from trainers.evaluation.result import EvaluationResult

__all__ = ["EvaluateConfig", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Metrics of an exported model, overall and by segment.

    Attributes:
        slices: each a list of columns, e.g. [["carrier"], ["carrier", "origin"]].
        metrics: names, such as "auc" or a TFMA class; empty for those that fit the model.
        thresholds: metric → least value of a model that may be pushed, e.g. {auc = 0.92}; or a table for each metric, see
            `trainers.evaluation.parse_thresholds`.
        baseline: another model that is measured on the same rows; empty for none.
        weight: column with the weight of each row; empty for none.
        output: the model's output that holds the predictions; empty for its only one.
        show: most segments printed for each slice, the largest first.
        intervals: how 95 % intervals are estimated: "jackknife", "bootstrap" or "none".
    """

    slices: tuple[tuple[str, ...], ...] = ()
    metrics: tuple[str, ...] = ()
    thresholds: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baseline: str = ""
    weight: str = ""
    output: str = ""
    show: int = 20
    intervals: str = "jackknife"

    def __post_init__(self) -> None:
        from trainers.evaluation.thresholds import parse_thresholds

        check_types(self)
        require(self.show >= 0, "show", self.show, "0 or more")
        known = ("jackknife", "bootstrap", "none")
        require(self.intervals in known, "intervals", self.intervals, f"one of {', '.join(known)}")
        parse_thresholds(self.thresholds)


def run(
    config: EvaluateConfig, model: str, data: Dataset, label: str, *, out: str | os.PathLike[str] | None = None
) -> EvaluationResult:
    """Returns the result, with what thresholds it misses.

    Args:
        config: settings.
        model: SavedModel, or the directory of its versions (the newest).
        data: raw rows.
        label: transformed feature or column that is the label.
        out: file or URI that the result is written to as JSON, with Markdown beside it.

    Raises:
        ConfigError: a model, metric, slice or `out` that cannot work.
        DataError: bad data.
    """
    from trainers.evaluation.evaluate import evaluate

    return evaluate(
        model,
        data,
        label,
        slices=[list(columns) for columns in config.slices],
        metrics=list(config.metrics) or None,
        thresholds=config.thresholds,
        baseline=config.baseline or None,
        weight=config.weight or None,
        output=config.output or None,
        intervals=config.intervals,
        out=None if out is None else os.fspath(out),
    )
