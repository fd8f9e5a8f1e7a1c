"""What a model must reach to be served: bounds on metrics, overall, by segment, against a baseline and between segments."""

from __future__ import annotations

import dataclasses
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError
from trainers.evaluation.metric_names import canonical

__all__ = ["Threshold", "lower_is_better", "parse_thresholds"]
_LOWER = (
    "loss",
    "crossentropy",
    "cross_entropy",
    "error",
    "false_positive",
    "false_negative",
    "fpr",
    "fnr",
    "mse",
    "mae",
    "rmse",
    "false_discovery_rate",
    "false_omission_rate",
    "hinge",
    "divergence",
    "poisson",
    "fall_out",
    "miss_rate",
    "flip_rate",
    "prediction_difference",
    "label_position",
    "negative_likelihood",
    "brier_score",
    "cosh",
    "fallout",
    "huber",
    "kld",
    "mape",
    "msle",
    "nll",
    "perplexity",
)
_LOWER_ALONE = ("fp", "fn", "fdr", "for", "brier")
_BOUNDS = ("min", "max", "min_change", "max_change", "max_gap")
_KEYS = ("min", "max", "min_change", "max_change", "slices", "min_rows", "max_gap", "confident", "overall")


def lower_is_better(metric: str) -> bool:
    """Returns whether a smaller value of the metric is the better one, by its name.

    Args:
        metric: its name in results, a short one, or its class in TFMA; with "OUTPUT/" before it, whatever the output is called.
    """
    name = canonical(metric.rpartition("/")[2].partition("@")[0])
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    # Of recall at a false positive rate the recall is asked for.
    wanted = name.partition("_at_")[0]
    return wanted in _LOWER_ALONE or any(part in wanted for part in _LOWER)


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

    Raises:
        ConfigError: no bound, one that is no finite number, which nothing would miss, or nothing that is held to it.
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

    def __post_init__(self) -> None:
        where = f"thresholds.{self.metric}"
        bounds = {name: getattr(self, name) for name in _BOUNDS}
        for name, value in bounds.items():
            if value is not None and not _is_number(value):
                raise ConfigError(f"{where}.{name} = {value!r}: it must be a number")
            if value is not None and not isinstance(value, (int, float)):
                object.__setattr__(self, name, float(value))  # one of NumPy: results are written as JSON
        if all(value is None for value in bounds.values()):
            raise ConfigError(f"{where}: no bound; give one of {', '.join(_BOUNDS)}")
        if self.max_gap is not None and not self.slices:
            raise ConfigError(f"{where}.max_gap: it compares segments; give slices, e.g. slices = [['carrier']]")
        if not self.overall and not self.slices:
            raise ConfigError(f"{where}.overall = false: then nothing is judged; give slices")

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
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond float64
        return False
