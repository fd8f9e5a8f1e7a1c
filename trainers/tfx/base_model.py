"""Weights out of a SavedModel that was exported here, for TFX's `base_model`."""

from __future__ import annotations

from typing import Any

from engine.core.errors import ConfigError

__all__ = ["load_weights"]

_KEY = "forward/model_variables/{}/.ATTRIBUTES/VARIABLE_VALUE"


def load_weights(model: Any, base_model: str) -> None:
    """Gives a model's variables the values that a SavedModel of the same architecture holds.

    Args:
        model: Keras model (either generation) or tf.Module whose variables exist.
        base_model: directory of the SavedModel, local or a URI.

    Raises:
        ConfigError: no SavedModel of this project there, or one of another architecture; the message names the variable.
    """
    import tensorflow as tf

    from trainers.export.forward import variables_of

    prefix = f"{base_model.rstrip('/')}/variables/variables"
    try:
        reader = tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, ValueError) as error:
        raise ConfigError(f"base_model={base_model}: no weights can be read there: {error}") from None
    stored = reader.get_variable_to_shape_map()
    if _KEY.format(0) not in stored:
        raise ConfigError(
            f"base_model={base_model} was not exported by this project: it has no list of the model's variables"
        )
    mine = variables_of(model)
    count = sum(1 for name in stored if name.startswith("forward/model_variables/") and name.endswith("VARIABLE_VALUE"))
    if count != len(mine):
        raise ConfigError(f"base_model={base_model} has {count} variables, the model that was built has {len(mine)}")
    for i, variable in enumerate(mine):
        if list(stored[_KEY.format(i)]) != variable.shape.as_list():
            raise ConfigError(
                f"base_model={base_model}: variable {i} has shape {stored[_KEY.format(i)]} there, {variable.name} of the "
                f"model that was built has {variable.shape.as_list()}"
            )
    for i, variable in enumerate(mine):
        variable.assign(reader.get_tensor(_KEY.format(i)))
