"""Steps of TFT's own implementation that have no public name: tracing for metadata, models of phases, fingerprints, instance dicts.

So have two of TensorFlow's that tracing needs: who is told of resources, and the values of tensors that depend on no input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import lift_to_graph, wrap_function
from tensorflow.python.trackable import resource as trackable_resource
from tensorflow_transform import impl_helper, tf_utils

from transforms.tft.versions import require

__all__ = [
    "ResourceTracker",
    "asset_replacements",
    "check_fingerprint",
    "constants_of",
    "resource_tracker_scope",
    "trace_metadata",
    "write_phase_graph",
]

require(
    impl_helper,
    "_validate_analyzers_fingerprint",
    "_trace_and_get_metadata",
    "_trace_and_write_transform_fn",
)
require(tf_utils, "_ASSET_REPLACEMENTS")
require(trackable_resource, "ResourceTracker", "resource_tracker_scope", distribution="tensorflow")
require(wrap_function, "WrappedFunction", "VariableHolder", distribution="tensorflow")
require(lift_to_graph, "UnliftableError", distribution="tensorflow")

ResourceTracker = trackable_resource.ResourceTracker
resource_tracker_scope = trackable_resource.resource_tracker_scope


def constants_of(graph: tf.Graph, tensors: Sequence[tf.Tensor]) -> list[Any] | None:
    """Returns the values of tensors of a traced graph, or None where one of them depends on the graph's inputs."""
    holder = wrap_function.VariableHolder(share_variables=True)
    wrapped = wrap_function.WrappedFunction(graph, variable_holder=holder)
    try:
        return list(wrapped.prune(feeds=[], fetches=list(tensors))())
    except (ValueError, tf.errors.InvalidArgumentError, lift_to_graph.UnliftableError):
        return None


def check_fingerprint(fingerprint: Any, graph: Any, inputs: Any) -> None:
    """Raises TFT's error where a second trace of a function gave other analyzers than the first."""
    impl_helper._validate_analyzers_fingerprint(fingerprint, graph, inputs)


def trace_metadata(
    concrete: Any, inputs: Any, preprocessing_fn: Callable[..., Any], temp_dir: str, known: Mapping[str, Any]
) -> Any:
    """Returns the metadata of a traced function whose annotations depend on its inputs."""
    return impl_helper._trace_and_get_metadata(concrete, inputs, preprocessing_fn, temp_dir, dict(known))


def write_phase_graph(
    path: str,
    preprocessing_fn: Callable[..., Any],
    specs: Mapping[str, Any],
    temp_dir: str,
    known: Mapping[str, Any],
    keys: Mapping[str, str],
) -> None:
    """Writes the SavedModel of a phase: the function with earlier results in it, and the tensors in `keys` as its outputs."""
    impl_helper._trace_and_write_transform_fn(path, preprocessing_fn, specs, temp_dir, dict(known), dict(keys), None)


def asset_replacements(graph: Any) -> list[tuple[Any, tf.Tensor]]:
    """Returns (symbolic path, eager stand-in) of each file of the graph that an analysis will write."""
    return list(graph.get_collection(tf_utils._ASSET_REPLACEMENTS))
