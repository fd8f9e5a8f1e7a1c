"""What TFT's schema inference keeps in collections of the graph: ranges and annotations of outputs, shapes of sparse ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform import schema_inference

from transforms.tft.versions import require

__all__ = ["RANGED_TENSORS", "annotation_tensors", "tensor_keys"]

require(
    schema_inference,
    "_TF_METADATA_TENSOR_COLLECTION",
    "_TF_METADATA_TENSOR_MIN_COLLECTION",
    "_TF_METADATA_TENSOR_MAX_COLLECTION",
    "_TF_METADATA_EXTRA_ANNOTATION",
    "_TF_METADATA_EXTRA_ANNOTATION_TYPE_URL",
    "_TF_METADATA_EXTRA_ANNOTATION_PROTO",
    "_TF_METADATA_EXTRA_ANNOTATION_GLOBAL",
    "_METADATA_SPARSE_OUTPUT_OVERRIDES_FIELD",
    "_get_tensor_value_to_key_map",
    "_get_schema_overrides",
    "_get_sparse_output_annotations_v2",
)

# The collection of the graph that holds the tensors for which TFT notes a range.
RANGED_TENSORS: str = schema_inference._TF_METADATA_TENSOR_COLLECTION
_RANGES = (
    RANGED_TENSORS,
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


def tensor_keys(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Returns the output that each tensor of the graph belongs to, by the tensor's name."""
    return dict(schema_inference._get_tensor_value_to_key_map(outputs))


def annotation_tensors(outputs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns the annotations of outputs as tensors of the default graph, by TFT's name of the annotation."""
    graph = tf.compat.v1.get_default_graph()
    names = schema_inference._get_tensor_value_to_key_map(outputs)
    found: dict[str, list[Any]] = {
        **schema_inference._get_schema_overrides(graph, names, *_RANGES),
        **schema_inference._get_schema_overrides(graph, names, *_ANNOTATIONS),
    }
    field = schema_inference._METADATA_SPARSE_OUTPUT_OVERRIDES_FIELD
    found[field] = [schema_inference._get_sparse_output_annotations_v2(graph, names)]
    return found
