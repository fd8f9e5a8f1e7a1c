"""Gradients clipped by their global norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.tables.reads import Read

__all__ = ["TableGradients", "clipped", "multiplied", "refuse_uneven_slices"]


class TableGradients:
    """Gradients of the rows that the slices of a batch read from tables; filled while a step is traced."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Any, list[Any], list[Any]]] = {}

    def add(self, reads: Sequence[Read], gradients: Sequence[Any]) -> None:
        """Takes the look-ups of one slice in, with the gradients of their rows."""
        for read, gradient in zip(reads, gradients):
            if gradient is not None:  # the loss does not depend on these rows
                _, asked, values = self._found.setdefault(id(read.table), (read.table, [], []))
                asked.append(read.asked)
                values.append(tf.convert_to_tensor(gradient))

    def summed(self) -> list[tuple[Any, Any, Any]]:
        """Returns (table, numbers of rows of this worker, gradients summed over all workers)."""
        result = []
        for table, asked, values in self._found.values():
            # One exchange for each look-up: their gradients then lie in the order of the ids of all workers.
            parts = [table.gathered(ids, value) for ids, value in zip(asked, values)]
            numbers, gradient = table.summed([ids for ids, _ in parts], [value for _, value in parts])
            result.append((table, numbers, gradient))
        return result


def multiplied(gradients: Sequence[Any], factor: Any) -> list[Any]:
    """Returns gradients times a number, None for None; 0 times what is not finite is 0: a part of which nothing counts."""
    return [None if g is None else _multiplied(g, factor) for g in gradients]


def _multiplied(gradient: Any, factor: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_multiplied(gradient.values, factor), gradient.indices, gradient.dense_shape)
    return tf.math.multiply_no_nan(gradient, tf.cast(factor, gradient.dtype))


def refuse_uneven_slices(size_of_mean: Any) -> None:
    """Refuses to add up slices whose masks cannot be made one.

    Args:
        size_of_mean: of the adapter, after the loss of a slice; a text says what has no such size.

    Raises:
        ConfigError: the masks of a batch are not one whose size is known.
    """
    if isinstance(size_of_mean, str):
        raise ConfigError(
            f"accumulate_steps: {size_of_mean} cannot be added up over slices by what their masks leave; "
            "use accumulate_steps=1, or give the mask as a sample weight"
        )


def clipped(
    gradients: Sequence[Any], norm: float, dense: bool = False, square_of_others: Any = 0.0
) -> tuple[list[Any], Any]:
    """Returns (gradients scaled so that the norm of all of them together is at most `norm`, the factor).

    The gradient of an embedding is IndexedSlices with one row for each lookup. Rows of the same id add up when they are
    applied, so they are added up before the norm is taken.

    Args:
        gradients: tensors, IndexedSlices, or None.
        norm: more than 0.
        dense: make IndexedSlices dense, for devices that compile whole programs: `tf.unique` has no static shape.
        square_of_others: sum of the squares of gradients that are not in the list and belong to the same norm.
    """
    whole = [_without_duplicates(g, dense) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
    total = tf.sqrt(tf.square(tf.linalg.global_norm(whole)) + square_of_others)
    return list(tf.clip_by_global_norm(whole, norm, use_norm=total)[0]), norm / tf.maximum(total, norm)


def _without_duplicates(slices: tf.IndexedSlices, dense: bool) -> Any:
    if dense:
        return tf.convert_to_tensor(slices)
    ids, place = tf.unique(slices.indices)
    values = tf.math.unsorted_segment_sum(slices.values, place, tf.shape(ids)[0])
    return tf.IndexedSlices(values, ids, slices.dense_shape)
