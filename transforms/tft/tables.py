"""Lookup tables of TensorFlow from the inside: where they read from, and saving them with fewer traced functions.

`tf.saved_model.save` traces three functions a table: to make it, to fill it, to destroy it. Static tables have nothing to
destroy, so the third is the same for all of them and is traced once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import lookup_ops, script_ops
from tensorflow.python.trackable import base as trackable_base

from transforms.tft.versions import private, require

__all__ = [
    "file_of",
    "initializer_of",
    "is_file_table",
    "missing_file",
    "point_at",
    "python_function",
    "share_destroyer",
    "table_with_buckets",
]

require(lookup_ops, "StaticHashTable", "StaticVocabularyTable", "TextFileInitializer", distribution="tensorflow")
require(lookup_ops.StaticHashTable, "_create_resource", "_initialize", "_trackable_children", distribution="tensorflow")
require(script_ops, "_py_funcs", distribution="tensorflow")


def share_destroyer(tables: Sequence[lookup_ops.StaticHashTable]) -> None:
    """Has the tables be saved with one function that destroys them."""

    @tf.function(input_signature=[], autograph=False)
    def destroyer() -> int:
        return 1  # as TensorFlow's own

    for table in tables:
        table._trackable_children = _children(table, destroyer)


def _children(table: Any, destroyer: Any) -> Callable[..., dict[str, Any]]:
    def children(save_type: str = trackable_base.SaveType.CHECKPOINT, **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = trackable_base.Trackable._trackable_children(table, save_type, **kwargs)
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


def initializer_of(table: Any) -> Any:
    """Returns the operation-making initializer of a static table."""
    return table._initializer


def point_at(table: lookup_ops.StaticHashTable, asset: Any) -> None:
    """Has a table read another file, an asset of the model that is saved, when the model is loaded."""
    initializer = table._initializer
    initializer._filename = initializer._track_trackable(asset, "_filename", overwrite=True)


def file_of(table: lookup_ops.StaticHashTable) -> Any:
    """Returns the path of the file that a table is filled from, as the tensor it was given as."""
    return table._initializer._filename_arg


def is_file_table(table: Any) -> bool:
    """Returns whether all of a table comes from a text file whose length is not declared, as TFT's vocabularies do."""
    if not isinstance(table, lookup_ops.StaticHashTable):
        return False
    initializer = table._initializer
    return isinstance(initializer, lookup_ops.TextFileInitializer) and initializer._vocab_size is None


def table_with_buckets(table: Any) -> Any:
    """Returns the static table inside a table with buckets for other values; any other table itself is not one: None."""
    return table._table if isinstance(table, lookup_ops.StaticVocabularyTable) else None


def python_function(token: str) -> Callable[..., Any] | None:
    """Returns the Python function that an operation of a graph calls by this token, or None where it is gone."""
    found: Callable[..., Any] | None = script_ops._py_funcs.get(token)
    return found


def missing_file(table: Any) -> str | None:
    """Returns the file that a table of a user's own would be filled from and that is not there, or None."""
    initializer = getattr(table, "_initializer", None)
    if not isinstance(initializer, lookup_ops.TextFileInitializer):
        return None
    path = private(initializer, "_filename_arg", "tensorflow")
    path = path.numpy() if hasattr(path, "numpy") else path
    if isinstance(path, (str, bytes)) and not tf.io.gfile.exists(path):
        return os.fsdecode(path)
    return None
