"""Saving of lookup tables with fewer traced functions.

`tf.saved_model.save` traces three functions a table: to make it, to fill it, to destroy it. Static tables have nothing to
destroy, so the third is the same for all of them and is traced once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import lookup_ops
from tensorflow.python.trackable import base as trackable_base

__all__ = ["share_destroyer"]


def share_destroyer(tables: Sequence[lookup_ops.StaticHashTable]) -> None:
    """Has the tables be saved with one function that destroys them."""

    @tf.function(input_signature=[], autograph=False)
    def destroyer() -> int:
        return 1  # as TensorFlow's own

    for table in tables:
        table._trackable_children = _children(table, destroyer)


def _children(table: Any, destroyer: Any) -> Callable[..., dict[str, Any]]:
    def children(save_type: str = trackable_base.SaveType.CHECKPOINT, **kwargs: Any) -> dict[str, Any]:
        found = trackable_base.Trackable._trackable_children(table, save_type, **kwargs)
        if save_type != trackable_base.SaveType.SAVEDMODEL:
            return found

        @tf.function(input_signature=[], autograph=False)
        def creator() -> Any:
            return table._create_resource()

        @tf.function(input_signature=[], autograph=False)
        def initializer() -> int:
            table._initialize()
            return 1

        return {**found, "_create_resource": creator, "_initialize": initializer, "_destroy_resource": destroyer}

    return children
