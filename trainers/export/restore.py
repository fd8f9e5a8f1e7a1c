"""The weights of a checkpoint in a model that was built anew, of either Keras generation."""

from __future__ import annotations

from typing import Any

from engine.core.errors import ConfigError
from trainers.checkpoints.checkpoint import Checkpoint, assign_group, load_checkpoint
from trainers.compat.keras import tf_variable
from trainers.export.forward import variables_of
from trainers.tables.table import tables_of

__all__ = ["restore_model"]


def restore_model(model: Any, path: str, use_average: bool = False) -> Checkpoint:
    """Puts the weights of a checkpoint into a freshly built model of the same architecture.

    Args:
        model: a Keras model (either generation) or tf.Module whose variables exist.
        path: checkpoint or training directory.
        use_average: take the moving averages for the trainable weights; the checkpoint must have them.

    Returns:
        The checkpoint that was read.
    """
    checkpoint = load_checkpoint(path)
    own = {id(v) for v in variables_of(model)}
    assign_group(checkpoint, "model", _named(model.variables, own))
    checkpoint.restore_tables(tables_of(model), training=False)
    if use_average:
        if not checkpoint.state["variables"].get("average"):
            raise ConfigError(f"{checkpoint.path}: it has no moving averages: it was trained without ema_decay")
        assign_group(checkpoint, "average", _named(model.trainable_variables, own))
    return checkpoint


def _named(variables: Any, own: set[int]) -> list[tuple[str, Any]]:
    pairs = [(getattr(v, "path", v.name), tf_variable(v)) for v in variables]
    return [(name, variable) for name, variable in pairs if id(variable) in own]
