"""The variables of a tf.Module, those of Keras 3 layers and variables among its attributes with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from trainers.compat.keras import tf_variable

__all__ = ["module_variables"]


def module_variables(module: tf.Module) -> list[tuple[str, Any, bool]]:
    """Returns (name, tf.Variable, whether it is trained) of everything in a module, each variable once.

    `tf.Module` looks for tf.Variables in attributes that are modules. A layer of Keras 3 is none, and a variable of Keras 3 is no
    tf.Variable: their weights would stay as they are, and be in no checkpoint, without a word.
    """
    trained = {id(v) for v in module.trainable_variables}
    found = {id(v): (v.name, v, id(v) in trained) for v in module.variables}
    for part in _keras_parts(module):
        layer = isinstance(part, keras.layers.Layer)
        trained_here = {id(v) for v in part.trainable_variables} if layer else {id(part)} if part.trainable else set()
        for variable in part.variables if layer else [part]:
            inner = tf_variable(variable)
            found.setdefault(id(inner), (variable.path, inner, id(variable) in trained_here))
    return list(found.values())


def _keras_parts(module: tf.Module) -> Iterator[Any]:
    """Gives the layers and variables of Keras 3 among the attributes of a module and of the modules in it, in the order of their names."""
    for each in (module, *module.submodules):
        for _, value in sorted(vars(each).items()):
            for part in _leaves(value):
                if isinstance(part, keras.layers.Layer | keras.Variable):
                    yield part


def _leaves(value: Any) -> list[Any]:
    try:
        leaves: list[Any] = tf.nest.flatten(value)
    except (TypeError, ValueError):  # a dict whose keys have no order: tf.Module does not look into it either
        return []
    return leaves
