"""Gradients clipped by their global norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = ["clipped"]


def clipped(gradients: Sequence[Any], norm: float, dense: bool = False) -> list[Any]:
    """Returns the gradients scaled so that the norm of all of them together is at most `norm`.

    The gradient of an embedding is IndexedSlices with one row for each lookup. Rows of the same id add up when they are
    applied, so they are added up before the norm is taken.

    Args:
        gradients: tensors, IndexedSlices, or None.
        norm: more than 0.
        dense: make IndexedSlices dense, for devices that compile whole programs: `tf.unique` has no static shape.
    """
    whole = [_without_duplicates(g, dense) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
    return list(tf.clip_by_global_norm(whole, norm)[0])


def _without_duplicates(slices: tf.IndexedSlices, dense: bool) -> Any:
    if dense:
        return tf.convert_to_tensor(slices)
    ids, place = tf.unique(slices.indices)
    values = tf.math.unsorted_segment_sum(slices.values, place, tf.shape(ids)[0])
    return tf.IndexedSlices(values, ids, slices.dense_shape)
