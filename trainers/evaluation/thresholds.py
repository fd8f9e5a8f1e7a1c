"""What a model must reach to be served: bounds on metrics, overall, by segment, against a baseline and between segments."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from trainers.evaluation.metric_names import result_name

__all__ = ["Threshold", "failures", "lower_is_better", "not_judged", "parse_thresholds"]

_LOWER = (
    "loss",
    "crossentropy",
    "error",
    "false_positive_rate",
    "false_negative_rate",
    "fpr",
    "fnr",
    "mse",
    "mae",
    "rmse",
    "false_discovery_rate",
    "false_omission_rate",
)
_KEYS = ("min", "max", "min_change", "max_change", "slices", "min_rows", "max_gap", "confident", "overall")


def lower_is_better(metric: str) -> bool:
    """Returns whether a smaller value of the metric is the better one, by its name."""
    return any(part in metric.lower() for part in _LOWER)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold:
    """Bounds on one metric.

    Args:
        metric: its name in the result, or an alias.
        min: least value allowed, or None.
        max: most allowed, or None.
        min_change: least value of (model - baseline), e.g. -0.005; needs a baseline.
        max_change: most of it.
        slices: segments that are held to the bounds besides all rows together, each a tuple of columns.
        min_rows: segments with fewer rows are not judged.
        max_gap: most that the best and the worst judged segment of one kind may be apart.
        confident: bounds hold for the whole 95 % interval of the value or of the change, not for the value alone.
        overall: all rows together are held to the bounds, besides the segments of `slices`.
    """

    metric: str
    min: float | None = None
    max: float | None = None
    min_change: float | None = None
    max_change: float | None = None
    slices: tuple[tuple[str, ...], ...] = ()
    min_rows: int = 100
    max_gap: float | None = None
    confident: bool = False
    overall: bool = True

    @property
    def needs_baseline(self) -> bool:
        """Whether the bounds compare with another model."""
        return self.min_change is not None or self.max_change is not None


def parse_thresholds(thresholds: Mapping[str, Any] | Sequence[Threshold] | None) -> tuple[Threshold, ...]:
    """Returns thresholds from a table of a TOML file.

    A number is the least value of a metric where more is better, the most of one where less is (loss, error, false rates).
    A table has any of `min`, `max`, `min_change`, `max_change`, `slices`, `min_rows`, `max_gap`, `confident`, `overall`.

    Args:
        thresholds: metric to number or table; or thresholds, which are returned.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type; the message names it.
    """
    if not thresholds:
        return ()
    if not isinstance(thresholds, Mapping):
        return tuple(thresholds)
    return tuple(_parse(str(metric), value) for metric, value in thresholds.items())


def _parse(metric: str, value: Any) -> Threshold:
    if _is_number(value):
        return (
            Threshold(metric=metric, max=float(value))
            if lower_is_better(metric)
            else Threshold(metric=metric, min=float(value))
        )
    if not isinstance(value, Mapping):
        raise ConfigError(f"thresholds.{metric} = {value!r}: it must be a number, or a table with {', '.join(_KEYS)}")
    settings: dict[str, Any] = {}
    for key, item in value.items():
        where = f"thresholds.{metric}.{key}"
        if key not in _KEYS:
            raise ConfigError(f"{where}: unknown key; the keys allowed here are {', '.join(_KEYS)}")
        if key == "slices":
            settings[key] = _slices(where, item)
        elif key in ("confident", "overall"):
            if not isinstance(item, bool):
                raise ConfigError(f"{where} = {item!r}: it must be true or false")
            settings[key] = item
        elif not _is_number(item) or (key == "min_rows" and (item != int(item) or item < 1)):
            raise ConfigError(
                f"{where} = {item!r}: it must be a {'whole number, 1 or more' if key == 'min_rows' else 'number'}"
            )
        else:
            settings[key] = int(item) if key == "min_rows" else float(item)
    if not set(settings) & set(_KEYS) - {"slices", "min_rows", "confident", "overall"}:
        raise ConfigError(f"thresholds.{metric}: no bound; give one of min, max, min_change, max_change, max_gap")
    if "max_gap" in settings and not settings.get("slices"):
        raise ConfigError(
            f"thresholds.{metric}.max_gap: it compares segments; give slices, e.g. slices = [['carrier']]"
        )
    if settings.get("overall") is False and not settings.get("slices"):
        raise ConfigError(f"thresholds.{metric}.overall = false: then nothing is judged; give slices")
    return Threshold(metric=metric, **settings)


def _slices(where: str, value: Any) -> tuple[tuple[str, ...], ...]:
    lists = isinstance(value, (list, tuple)) and all(isinstance(part, (list, tuple)) and part for part in value)
    if not lists or not all(isinstance(name, str) for part in value for name in part):
        raise ConfigError(
            f"{where} = {value!r}: it must be a list of lists of columns, e.g. [['carrier'], ['carrier', 'origin']]"
        )
    return tuple(tuple(part) for part in value)


def _is_number(value: Any) -> bool:
    """Not NaN, which no value is below or above: a bound that nothing misses."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


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
