"""Which settings a search tries: names of settings to what is drawn for them. Pure; Ray is not imported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.configs import refusal, require
from engine.core.errors import ConfigError

__all__ = ["KINDS", "check_space", "examples_of", "settings_of"]

# Kind of a draw to (how many values it takes, what they are).
KINDS: dict[str, tuple[int | None, str]] = {
    "choice": (None, "a list of values"),
    "grid": (None, "a list of values, each of which is tried"),
    "uniform": (2, "[low, high]"),
    "loguniform": (2, "[low, high], both more than 0"),
    "randint": (2, "[low, high) of whole numbers"),
    "lograndint": (2, "[low, high) of whole numbers, both more than 0"),
}
_FIXED = ("directory", "label", "weight", "epochs", "steps", "build_model", "callbacks", "strategy")


def check_space(space: Mapping[str, Any]) -> None:
    """Holds a search space to what can be drawn.

    Args:
        space: setting to one draw, e.g. `{"hyperparameters.rate": {"loguniform": [1e-4, 1e-1]}}`.

    Raises:
        ConfigError: a draw that is none, or a setting that must be the same in all trials.
    """
    require(
        bool(space),
        "search",
        dict(space),
        'at least one setting, e.g. {"hyperparameters.rate": {"loguniform": [1e-4, 0.1]}}',
    )
    for name, draw in space.items():
        key = f"search.{name}"
        head = name.partition(".")[0]
        if head in _FIXED:
            raise refusal(key, draw, f"another setting; {head} is the same in all trials")
        if not isinstance(draw, Mapping) or len(draw) != 1 or next(iter(draw)) not in KINDS:
            raise refusal(key, draw, f"one of {', '.join(KINDS)} with its values, e.g. {{'choice': [16, 32]}}")
        ((kind, values),) = draw.items()
        _check_values(f"{key}.{kind}", kind, values)


def _check_values(key: str, kind: str, values: Any) -> None:
    count, words = KINDS[kind]
    listed = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
    require(listed and (count is None or len(values) == count), key, values, words)
    if count is None:
        return
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    require(numbers and values[0] < values[1], key, values, f"{words}, the first less than the second")
    require("log" not in kind or values[0] > 0, key, values, words)
    require("int" not in kind or all(isinstance(v, int) for v in values), key, values, words)


def examples_of(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns draws in which each value of a list, and the least and the greatest of each range, are drawn at least once."""
    values = {}
    for name, draw in space.items():
        ((kind, given),) = draw.items()
        values[name] = _ends(kind, *given) if KINDS[kind][0] else list(given)
    most = max(len(each) for each in values.values())
    return [{name: each[i % len(each)] for name, each in values.items()} for i in range(most)]


def _ends(kind: str, low: float, high: float) -> list[float]:
    return [low, high - 1 if "int" in kind else math.nextafter(high, low)]  # the high end itself is never drawn


def settings_of(base: Mapping[str, Any], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a trial: those that all trials share, and what was drawn for this one.

    Args:
        base: nested settings as JSON has them.
        drawn: "table.key" to a value.

    Raises:
        ConfigError: a draw is for a key of what is no table.
    """
    result: dict[str, Any] = {**base}
    for name, value in drawn.items():
        *parents, last = name.split(".")
        table = result
        for parent in parents:
            known = {} if table.get(parent) is None else table[parent]
            if not isinstance(known, Mapping):
                raise ConfigError(
                    f"search.{name}: {parent} is {known!r}, which has no {last!r}; search {parent} itself"
                )
            table[parent] = {**known}
            table = table[parent]
        table[last] = value
    return result
