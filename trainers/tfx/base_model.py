"""Weights out of a SavedModel that was exported here, for TFX's `base_model`."""

from __future__ import annotations

from typing import Any

from engine.core.errors import ConfigError

__all__ = ["load_weights"]

_KEY = "forward/model_variables/{}/.ATTRIBUTES/VARIABLE_VALUE"


def load_weights(model: Any, base_model: str) -> None:
    """Gives a model's variables the values that a SavedModel of the same architecture holds, see `places_of`.

    Args:
        model: Keras model (either generation) or tf.Module whose variables exist.
        base_model: directory of the SavedModel, local or a URI.

    Raises:
        ConfigError: no SavedModel of this project there, or one of another architecture; the message names the variable.
    """
    import tensorflow as tf

    from trainers.checkpoints.checkpoint import places_of
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
    names = _names(reader)
    places = places_of([names.get(_KEY.format(i), "") for i in range(count)], [v.name.partition(":")[0] for v in mine])
    for i, variable in zip(places, mine):
        if list(stored[_KEY.format(i)]) != variable.shape.as_list():
            raise ConfigError(
                f"base_model={base_model}: variable {i} has shape {stored[_KEY.format(i)]} there, {variable.name} of the "
                f"model that was built has {variable.shape.as_list()}"
            )
    for i, variable in zip(places, mine):
        variable.assign(reader.get_tensor(_KEY.format(i)))


def _names(reader: Any) -> dict[str, str]:
    """Returns key to name of the variables of a SavedModel, as far as it says them."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    return {part.checkpoint_key: part.full_name for node in graph.nodes for part in node.attributes}
