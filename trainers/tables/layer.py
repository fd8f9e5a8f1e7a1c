"""The Keras layer over a table whose rows are divided over the workers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trainers.tables.table import ShardedTable

__all__ = ["ShardedEmbedding"]


class ShardedEmbedding(keras.layers.Layer):
    """An embedding in place of `keras.layers.Embedding`, for tables that one worker cannot hold.

    Args:
        rows: of the table; ids are 0 to rows - 1.
        width: numbers a row.
        name: of the layer and, in checkpoints, of the table; it must not change between runs.
        optimizer, learning_rate, initial_range: see `ShardedTable`.
    """

    def __init__(
        self,
        rows: int,
        width: int,
        *,
        name: str,
        optimizer: str = "adagrad",
        learning_rate: float | None = None,
        initial_range: float = 0.05,
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.table = ShardedTable(
            rows, width, name=name, optimizer=optimizer, learning_rate=learning_rate, initial_range=initial_range
        )
        self.built = True

    def call(self, ids: Any) -> Any:
        """Returns [..., width] for whole numbers [...]."""
        return tf.cast(self.table.look_up(ids), self.compute_dtype)

    def compute_output_spec(self, ids: Any) -> Any:
        """Returns the shape and type of the rows."""
        return keras.KerasTensor((*ids.shape, self.table.width), dtype=self.compute_dtype)
