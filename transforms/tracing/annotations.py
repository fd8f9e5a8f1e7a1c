"""What a preprocessing_fn says of its outputs: ranges, extra annotations, shapes of sparse outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from transforms.tft.annotations import annotation_tensors

__all__ = ["annotations_of", "evaluate_annotations"]


def annotations_of(outputs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns the annotations of outputs as tensors of the graph that is being traced."""
    return annotation_tensors(outputs)


def evaluate_annotations(
    annotations: dict[str, list[Any]], evaluate: Callable[[list[Any]], Sequence[Any]]
) -> dict[str, Any]:
    """Returns the annotations as constants.

    Args:
        annotations: of `annotations_of`.
        evaluate: returns the values of symbolic tensors.
    """
    leaves = tf.nest.flatten(annotations)
    deferred = [leaf for leaf in leaves if _is_symbolic(leaf)]
    values = iter(evaluate(deferred) if deferred else [])
    constants = [tf.convert_to_tensor(next(values) if _is_symbolic(leaf) else leaf) for leaf in leaves]
    evaluated: dict[str, Any] = tf.nest.pack_sequence_as(annotations, constants)
    return evaluated


def _is_symbolic(leaf: Any) -> bool:
    return isinstance(leaf, tf.Tensor) and not hasattr(leaf, "numpy")
