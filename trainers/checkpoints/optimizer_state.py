"""The optimizer's variables in a checkpoint: described when they are saved, given to another optimizer where they fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trainers.checkpoints import checkpoint as files

__all__ = ["describe_optimizer", "restore_optimizer"]


def describe_optimizer(optimizer: Any, named: list[tuple[str, Any]], rate: float) -> dict[str, Any]:
    """Returns class and learning rate (None for a schedule) of an optimizer that was just built.

    Args:
        optimizer: of either Keras generation.
        named: its (path, variable).
        rate: of its next step.
    """
    fixed = any(_is_rate(name) for name, _ in named)
    return {"class": type(optimizer).__name__, "learning_rate": rate if fixed else None}


def restore_optimizer(
    saved: files.Checkpoint,
    named: list[tuple[str, Any]],
    built: Mapping[str, Any],
    assign: Callable[[Any, Any], None],
) -> str | None:
    """Gives the optimizer its saved state; returns what should be said of the learning rate, or None.

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
    if rate is not None and old_built is not None and not np.isclose(rate, old_built, rtol=1e-6):
        return f"goes on from step {saved.step} with the optimizer's learning rate {rate:g} (was {old_built:g})"
    for variable, value in zip(rates, old_rates):
        assign(variable, value)
    return None


def _is_rate(name: str) -> bool:
    return name.rpartition("/")[2].partition(":")[0] in ("learning_rate", "current_learning_rate")
