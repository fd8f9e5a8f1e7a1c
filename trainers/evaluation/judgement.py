"""A model's metrics held against thresholds: what fails, and which segments could not be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from trainers.evaluation.metric_names import result_name
from trainers.evaluation.thresholds import Threshold

__all__ = ["failures", "not_judged"]


def failures(
    thresholds: Sequence[Threshold],
    overall: Mapping[str, float],
    slices: Sequence[Any],
    baseline: Mapping[str, float] | None,
    half_widths: Mapping[str, float] | None = None,
    change_half_widths: Mapping[str, float] | None = None,
) -> list[str]:
    """Returns what the model did not reach, one readable line each; none where it may be served.

    Args:
        thresholds: the bounds.
        overall: metric to value over all rows.
        slices: segments with `key` (column to value), `rows` and `metrics`.
        baseline: metrics of the other model over the same rows.
        half_widths: metric to half of its interval over all rows; segments have their own.
        change_half_widths: the same of the change against the baseline.

    Raises:
        ConfigError: a metric or a segment that was not computed, or a change without a baseline.
    """
    found: list[str] = []
    for threshold in thresholds:
        name = result_name(threshold.metric, overall)
        if name not in overall:
            raise ConfigError(
                f"thresholds.{threshold.metric}: no such metric; computed are {', '.join(sorted(overall))}"
            )
        if threshold.needs_baseline and baseline is None:
            raise ConfigError(f"thresholds.{threshold.metric}: a change needs a baseline model; give baseline")
        if threshold.overall:
            found += _bounds(threshold, "all rows", overall[name], (half_widths or {}).get(name))
        if threshold.overall and threshold.needs_baseline and baseline is not None:
            found += _change(threshold, "", overall[name], baseline[name], (change_half_widths or {}).get(name))
        for columns in threshold.slices:
            found += _segments(threshold, name, columns, [s for s in slices if tuple(s.key) == columns])
    return found


def not_judged(thresholds: Sequence[Threshold], slices: Sequence[Any], overall: Mapping[str, float]) -> list[str]:
    """Returns the segments that thresholds name and that could not be judged, one readable line each."""
    found = []
    for threshold in thresholds:
        name = result_name(threshold.metric, overall)
        for columns in threshold.slices:
            for s in slices:
                if tuple(s.key) != columns:
                    continue
                if s.merged:
                    found.append(f"{threshold.metric} of {s.name}: each has fewer than {threshold.min_rows:,} rows")
                elif s.rows < threshold.min_rows:
                    found.append(f"{threshold.metric} of {s.name}: {s.rows:,} rows, fewer than {threshold.min_rows:,}")
                elif s.metrics[name] != s.metrics[name]:
                    found.append(f"{threshold.metric} of {s.name}: has no meaning there (only one class, or none)")
    return found


def _segments(threshold: Threshold, name: str, columns: tuple[str, ...], segments: Sequence[Any]) -> list[str]:
    if not segments:
        raise ConfigError(f"thresholds.{threshold.metric}.slices: {list(columns)} was not evaluated; add it to slices")
    judged = [(s, s.metrics[name]) for s in segments if s.rows >= threshold.min_rows and not s.merged]
    judged = [(s, value) for s, value in judged if value == value]  # AUC of a segment with one class is not a number
    found = []
    of_all = threshold.overall and any(each is not None for each in _bounds_of(threshold))
    if not judged and not of_all:  # a model is not blessed for what nothing was held to
        found.append(
            f"{threshold.metric}: none of the {len(segments):,} segments of {', '.join(columns)} could be judged (fewer than "
            f"{threshold.min_rows:,} rows, or no such metric), and all rows together are not"
        )
    for s, value in judged:
        found += _bounds(threshold, s.name, value, s.half_widths.get(name))
        if threshold.needs_baseline and s.baseline is not None:
            found += _change(threshold, f" of {s.name}", value, s.baseline[name], s.change_half_widths.get(name))
    if threshold.max_gap is not None and judged:
        low, high = min(judged, key=lambda j: j[1]), max(judged, key=lambda j: j[1])
        gap = high[1] - low[1]
        if gap > threshold.max_gap:
            found.append(
                f"{threshold.metric} differs by {gap:.4f} between {low[0].name} ({low[1]:.4f}) and {high[0].name} ({high[1]:.4f}), "
                f"at most {threshold.max_gap:g} is allowed"
            )
    return found


def _bounds_of(threshold: Threshold) -> tuple[float | None, ...]:
    """The bounds that hold for all rows as well as for segments."""
    return threshold.min, threshold.max, threshold.min_change, threshold.max_change


def _bounds(threshold: Threshold, where: str, value: float, half_width: float | None) -> list[str]:
    if value != value:
        return [f"{threshold.metric} of {where} is not a number"]
    margin, shown = 0.0, f"{value:.4f}"
    if threshold.confident:
        if half_width is None or half_width != half_width:
            return [f"{threshold.metric} of {where} has no interval; a confident bound needs one"]
        margin, shown = half_width, f"{value:.4f} ±{half_width:.4f}"
    if threshold.min is not None and value - margin < threshold.min:
        return [f"{threshold.metric} of {where} is {shown}, at least {threshold.min:g} is needed"]
    if threshold.max is not None and value + margin > threshold.max:
        return [f"{threshold.metric} of {where} is {shown}, at most {threshold.max:g} is allowed"]
    return []


def _change(threshold: Threshold, where: str, value: float, before: float, half_width: float | None) -> list[str]:
    change, margin, shown = value - before, 0.0, ""
    if threshold.confident:
        if half_width is None or half_width != half_width:
            return [f"the change of {threshold.metric}{where} has no interval; a confident bound needs one"]
        margin, shown = half_width, f" ±{half_width:.4f}"
    text = (
        f"{threshold.metric}{where} changed by {change:+.4f}{shown} against the baseline ({before:.4f} to {value:.4f})"
    )
    if threshold.min_change is not None and not change - margin >= threshold.min_change:
        return [f"{text}, at least {threshold.min_change:+g} is needed"]
    if threshold.max_change is not None and not change + margin <= threshold.max_change:
        return [f"{text}, at most {threshold.max_change:+g} is allowed"]
    return []
