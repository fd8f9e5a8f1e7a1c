"""What predictions tell of their rows: which are data, which steps of them count, and what may compare rows with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from trainers.compat.keras import mask_of, masked
from trainers.data.targets import row_count, rows_where

__all__ = ["in_order_of_outputs", "may_have_columns_of_rows", "number_of_rows", "rows_and_masks", "size_of_mask"]


def in_order_of_outputs(labels: Any, predictions: Any) -> Any:
    """Returns labels by name as a list, in their order, where a model returns a list or tuple of as many outputs; else as they are."""
    listed = isinstance(labels, Mapping) and isinstance(predictions, list | tuple) and len(predictions) == len(labels)
    return list(labels.values()) if listed else labels


def number_of_rows(nested: Any) -> Any:
    """Returns how many rows nested tensors have, float32."""
    return tf.cast(row_count(tf.nest.flatten(nested)[0]), tf.float32)


def may_have_columns_of_rows(output: Any) -> bool:
    """Returns whether an output may have a column for each row of the batch: a size that is unknown, or that of the batch.

    The sizes that its mask has, too, are those of steps.
    """
    shape, mask = output.shape, mask_of(output)
    if shape.rank is None:
        return True
    steps = 1 if mask is None or mask.shape.rank is None else mask.shape.rank
    return any(size in (None, shape[0]) for size in shape[steps:])


def rows_and_masks(rows: Any, predictions: Any) -> Any:
    """Returns the rows of predictions that count (bool [b]), each with those of its mask of steps where it has one."""

    def left(prediction: Any) -> Any:
        mask, kept = mask_of(prediction), rows_where(rows, prediction)
        return kept if mask is None else masked(kept, rows_where(rows, mask))

    return tf.nest.map_structure(left, predictions)


def size_of_mask(mask: Any, weights: Any) -> Any:
    """Returns the sum of the weights of the steps that a mask leaves; how many they are where there are no weights."""
    left = tf.cast(mask, tf.float32)
    if weights is not None:
        left *= tf.reshape(tf.cast(weights, tf.float32), [-1, *[1] * (left.shape.rank - 1)])
    return tf.reduce_sum(left)
