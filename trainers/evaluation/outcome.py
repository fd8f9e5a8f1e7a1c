"""From sums to a result: which segments are shown by themselves, intervals, fairness, and what thresholds say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.core.errors import ConfigError
from trainers.evaluation.accumulators.sampling import Intervals, half_width
from trainers.evaluation.fairness import gaps
from trainers.evaluation.judgement import failures, not_judged
from trainers.evaluation.passes.tally import Measured, Tally
from trainers.evaluation.result import OTHER, EvaluationResult, SliceResult
from trainers.evaluation.thresholds import Threshold

__all__ = ["MOST_REPORTED", "outcome"]

MOST_REPORTED = 100_000  # segments of one kind: some 10 kB of memory each


def outcome(tally: Tally, judged: Sequence[Threshold], max_segments: int, **facts: Any) -> EvaluationResult:
    """Returns the result of an evaluation.

    Args:
        tally: the sums of all rows.
        judged: thresholds.
        max_segments: segments of one kind that are kept by themselves.
        **facts: of the result: model, model_sha256, data, label.

    Raises:
        ConfigError: more segments would be reported than memory holds.
        DataError: the segments of a kind do not add up to all rows.
    """
    least = {c: min(t.min_rows for t in judged if c in t.slices) for t in judged for c in t.slices}

    def keep(columns: tuple[str, ...], rows: list[int]) -> np.ndarray:
        kept = np.zeros(len(rows), bool)
        kept[np.argsort(-np.array(rows, np.int64), kind="stable")[:max_segments]] = True
        # What a threshold judges is never hidden among others.
        kept = kept | (np.array(rows) >= least[columns]) if columns in least else kept
        if kept.sum() > MOST_REPORTED:
            raise ConfigError(
                f"slices: {kept.sum():,} segments of {', '.join(columns)} would be reported by themselves, at most {MOST_REPORTED:,} are; "
                "give a lower max_segments, or thresholds a higher min_rows"
            )
        return kept

    plan = tally.plan
    kinds = tally.measured(keep)
    ((whole,), *others) = kinds
    slices = [_slice(columns, each, plan.intervals) for columns, found in zip(plan.slices, others) for each in found]
    overall, before = whole.metrics["model"], whole.metrics.get("baseline")
    widths, changes = _widths(whole, plan.intervals), _changes(whole, plan.intervals)
    classes = {head.prefix.rstrip("/"): list(head.vocabulary) for head in plan.heads if head.vocabulary}
    return EvaluationResult(
        rows=tally.rows,
        overall=overall,
        half_widths=widths,
        slices=slices,
        baseline=before,
        change_half_widths=changes,
        failures=failures(judged, overall, slices, before, widths, changes),
        not_judged=not_judged(judged, slices, overall),
        judged=bool(judged),
        curves=tally.curves("model"),
        baseline_curves=tally.curves("baseline"),
        fairness=gaps(slices, list(overall)),
        intervals=plan.intervals.value,
        deviations=_deviations(whole),
        error_bounds=whole.error_bounds,
        tasks={head.prefix.rstrip("/"): head.task for head in plan.heads},
        classes=classes,
        **facts,
    )


def _slice(columns: tuple[str, ...], found: Measured, intervals: Intervals) -> SliceResult:
    values = (OTHER,) * len(columns) if found.values is None else found.values
    return SliceResult(
        key=dict(zip(columns, values)),
        rows=found.rows,
        metrics=found.metrics["model"],
        half_widths=_widths(found, intervals),
        merged=found.merged if found.values is None else 0,
        baseline=found.metrics.get("baseline"),
        change_half_widths=_changes(found, intervals),
        deviations=_deviations(found),
        error_bounds=found.error_bounds,
    )


def _widths(found: Measured, intervals: Intervals) -> dict[str, float]:
    return {name: float(half_width(parts, intervals)) for name, parts in found.replicates["model"].items()}


def _changes(found: Measured, intervals: Intervals) -> dict[str, float]:
    """Of the model less the baseline, both without the same rows: what both have in common does not widen it."""
    before: Mapping[str, np.ndarray] = found.replicates.get("baseline", {})
    after = found.replicates["model"]
    return {name: float(half_width(after[name] - before[name], intervals)) for name in after if name in before}


def _deviations(found: Measured) -> dict[str, np.ndarray]:
    metrics = found.metrics["model"]
    return {name: (parts - metrics[name]).astype(np.float32) for name, parts in found.replicates["model"].items()}
