"""Weights of another model as the start of a new training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.core.errors import ConfigError
from engine.core.run_log import tell
from trainers.checkpoints import checkpoint as files
from trainers.compat.keras import renew_constants
from trainers.models.adapters import ModelAdapter

__all__ = ["warm_start"]


def warm_start(adapter: ModelAdapter, source: str, assign: Callable[[Any, Any], None]) -> int:
    """Takes over every weight of the source that has the path and shape of one here; returns how many.

    Args:
        adapter: the new model.
        source: a training or checkpoint directory of this package (variables are matched by path and shape), or a
            `.keras`, `.h5` or `.weights.h5` file (Keras loads it, layers whose shapes differ are skipped).
        assign: puts a value into a variable on all replicas.

    Raises:
        ConfigError: nothing there fits.
    """
    if source.endswith((".keras", ".h5")):
        adapter.model.load_weights(source, skip_mismatch=True)
        return len(adapter.model.variables)
    saved = files.load_checkpoint(source)
    theirs = {key.partition(":")[2]: value for key, value in saved.tensors("model").items()}
    taken = 0
    mine = adapter.named_variables["model"]
    for name, variable in mine:
        value = theirs.get(name)
        if value is not None and variable.shape.is_compatible_with(value.shape) and value.dtype == variable.dtype:
            assign(variable, value)
            taken += 1
    if not taken:
        raise ConfigError(
            f"warm_start={source!r}: none of its variables ({', '.join(list(theirs)[:3])}, ...) has path and shape of "
            f"one here ({', '.join(n for n, _ in mine[:3])}, ...)"
        )
    renew_constants(adapter.model)
    if taken < len(mine):
        tell(f"warm start: {taken} of {len(mine)} variables were taken over from {saved.path}")
    return taken
