"""What a preprocessing_fn says of its outputs: ranges, extra annotations, shapes of sparse outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_transform import schema_inference

__all__ = ["annotations_of", "evaluate_annotations"]

_RANGES = (
    schema_inference._TF_METADATA_TENSOR_COLLECTION,
    [schema_inference._TF_METADATA_TENSOR_MIN_COLLECTION, schema_inference._TF_METADATA_TENSOR_MAX_COLLECTION],
)
_ANNOTATIONS = (
    schema_inference._TF_METADATA_EXTRA_ANNOTATION,
    [
        schema_inference._TF_METADATA_EXTRA_ANNOTATION_TYPE_URL,
        schema_inference._TF_METADATA_EXTRA_ANNOTATION_PROTO,
    ],
    schema_inference._TF_METADATA_EXTRA_ANNOTATION_GLOBAL,
)


def annotations_of(outputs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns the annotations of outputs as tensors of the graph that is being traced."""
    graph = tf.compat.v1.get_default_graph()
    names = schema_inference._get_tensor_value_to_key_map(outputs)
    found = {
        **schema_inference._get_schema_overrides(graph, names, *_RANGES),
        **schema_inference._get_schema_overrides(graph, names, *_ANNOTATIONS),
    }
    field = schema_inference._METADATA_SPARSE_OUTPUT_OVERRIDES_FIELD
    found[field] = [schema_inference._get_sparse_output_annotations_v2(graph, names)]
    return found


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
    return tf.nest.pack_sequence_as(annotations, constants)


def _is_symbolic(leaf: Any) -> bool:
    return isinstance(leaf, tf.Tensor) and not hasattr(leaf, "numpy")
