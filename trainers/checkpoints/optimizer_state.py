"""The optimizer's variables in a checkpoint: described when they are saved, given to another optimizer where they fit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trainers.checkpoints import checkpoint as files

__all__ = ["describe_optimizer", "restore_optimizer"]


# What says nothing of the steps: names, and what Keras chooses by the devices.
_NO_SETTINGS = ("name", "learning_rate", "jit_compile", "is_legacy_optimizer")


def describe_optimizer(optimizer: Any, named: list[tuple[str, Any]], rate: float, trained: int) -> dict[str, Any]:
    """Returns class, learning rate (None for a schedule) and other settings of an optimizer that was just built.

    Args:
        optimizer: of either Keras generation.
        named: its (path, variable).
        rate: of its next step.
        trained: how many weights are trained.
    """
    fixed = any(_is_rate(name) for name, _ in named)
    described = {"class": type(optimizer).__name__, "learning_rate": rate if fixed else None}
    inner = getattr(optimizer, "inner_optimizer", None)  # of one that scales the loss
    settings = {} if inner is None else _settings(inner)
    return {**described, "settings": {**_settings(optimizer), **settings, "number of trained weights": trained}}


def _settings(optimizer: Any) -> dict[str, Any]:
    """Returns the settings that are numbers or texts, and a schedule as a text; none of an optimizer that cannot give them."""
    try:
        config = dict(optimizer.get_config())
        rate = config.get("learning_rate")
        schedule = rate if isinstance(rate, dict) else None
        text = schedule and f"{schedule['class_name']}({json.dumps(schedule['config'], sort_keys=True)})"
        found: dict[str, Any] = {"schedule": text}
    except Exception:  # an optimizer or a schedule of the user's own may have no configuration
        return {}
    for name, value in config.items():
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)  # which JSON has no number for
        if name not in _NO_SETTINGS and (value is None or isinstance(value, bool | int | float | str)):
            found[name] = value
    return found


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns a text for each setting that is another one now; what one of the two releases of Keras does not have is no change."""
    return [f"{name}={now[name]} (was {then[name]})" for name in now if name in then and then[name] != now[name]]


def restore_optimizer(
    saved: files.Checkpoint,
    named: list[tuple[str, Any]],
    built: Mapping[str, Any],
    assign: Callable[[Any, Any], None],
) -> str | None:
    """Gives the optimizer its saved state; returns what should be said of settings that are others now, or None.

    The rate is a variable of the optimizer where no schedule is set. It goes on with what a callback made of it, unless the
    program asks for another one than it did then.

    Args:
        saved: the checkpoint.
        named: (path, variable) of the optimizer here.
        built: `describe_optimizer` of this one, before anything was restored.
        assign: puts a value into a variable on all replicas.

    Raises:
        CheckpointError: the state is that of another optimizer.
    """
    then, before = saved.state.get("optimizer", {}), saved.state["variables"].get("optimizer", [])
    if then.get("class", built["class"]) != built["class"]:
        raise files.CheckpointError(
            f"{saved.path} was trained with optimizer {then['class']}, now it is {built['class']}: keep it, or train in "
            "another directory (warm_start takes the weights)"
        )
    mine = [(name, v) for name, v in named if not _is_rate(name)]
    theirs = [entry for entry in before if not _is_rate(entry[0])]
    tensors = list(saved.tensors("optimizer").values())
    kept = [value for entry, value in zip(before, tensors) if not _is_rate(entry[0])]
    files.assign_values(saved, "optimizer", mine, theirs, kept, assign)
    rates = [v for name, v in named if _is_rate(name)]
    old_rates = [value for entry, value in zip(before, tensors) if _is_rate(entry[0])]
    rate, old_built = built["learning_rate"], then.get("learning_rate")
    changes = _changed(then.get("settings", {}), built["settings"])
    if rate is not None and old_built is not None and not np.isclose(rate, old_built, rtol=1e-6):
        changes.insert(0, f"learning rate {rate:g} (was {old_built:g})")
    else:
        for variable, value in zip(rates, old_rates):
            assign(variable, value)
    return f"goes on from step {saved.step} with the optimizer's {', '.join(changes)}" if changes else None


def _is_rate(name: str) -> bool:
    return name.rpartition("/")[2].partition(":")[0] in ("learning_rate", "current_learning_rate")
