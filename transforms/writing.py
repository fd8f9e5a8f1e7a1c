"""Writing of TFT's output: the transform graph with all analyzers' results in it, and the transformed metadata.

TFT traces the preprocessing_fn once for the graph and once more for the metadata. Here one trace gives both: annotations are
read off the same graph and evaluated in a pruned copy. Where that is not possible TFT's second trace is taken.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import wrap_function
from tensorflow_transform import graph_context, impl_helper, schema_inference, tf2_utils
from tensorflow_transform.saved import saved_transform_io_v2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

from engine.atomic import atomic_directory
from transforms.tracing import Trace

__all__ = ["pause_collection", "write_transform_fn", "write_transform_output"]

_ASSET_MAP = "asset_map"  # beside the schema, as TFT writes it
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


@contextlib.contextmanager
def pause_collection() -> Iterator[None]:
    """Pauses Python's garbage collector: tracing makes many objects and little garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def write_transform_fn(
    preprocessing_fn: Callable[..., Any],
    specs: Mapping[str, tf.TypeSpec],
    temp_dir: str,
    fingerprint: Mapping[str, Any],
    known: Mapping[str, tf.Tensor],
    path: str,
    save_options: Any = None,
) -> Any:
    """Writes the SavedModel, with its metadata in a subdirectory as TFT has it, and returns the metadata.

    Args:
        preprocessing_fn: the user's.
        specs: of the inputs.
        temp_dir: existing directory for temporary assets.
        fingerprint: of the first trace.
        known: results of all analyzers as constants by tensor name.
        path: directory that does not exist yet.
        save_options: `tf.saved_model.SaveOptions` or None.

    Raises:
        RuntimeError: when the function meets its analyzers in another order each time it is traced.
    """
    seen: dict[str, Any] = {}

    def recording(inputs: Any) -> Any:
        outputs = preprocessing_fn(inputs)
        seen["annotations"] = _annotations(outputs)
        return outputs

    context = graph_context.TFGraphContext(
        module_to_export=tf.Module(), temp_dir=temp_dir, evaluated_replacements=dict(known)
    )
    with pause_collection():
        function = impl_helper.get_traced_transform_fn(recording, specs, context, output_keys_to_name_map={})
        concrete = saved_transform_io_v2.write_v2_saved_model(
            context.module_to_export, function, "transform_fn", path, save_options
        )
        inputs = tf2_utils.get_structured_inputs_from_func_graph(concrete.graph)
        impl_helper._validate_analyzers_fingerprint(fingerprint, concrete.graph, inputs)
        try:
            schema = schema_inference.infer_feature_schema_v2(
                concrete.structured_outputs,
                lambda: _evaluated(seen["annotations"], concrete),
                evaluate_schema_overrides=True,
            )
            metadata = dataset_metadata.DatasetMetadata(schema=schema)
        except _NeedsInputs:
            metadata = impl_helper._trace_and_get_metadata(concrete, inputs, preprocessing_fn, temp_dir, dict(known))
    metadata_io.write_metadata(metadata, os.path.join(path, impl_helper.METADATA_DIR_NAME))
    return metadata


def write_transform_output(trace: Trace, known: Mapping[str, tf.Tensor], out: str) -> None:
    """Writes `transform_fn/` and `transformed_metadata/` so that `tft.TFTransformOutput(out)` reads them.

    The directory appears whole or not at all; one that exists is replaced.

    Args:
        trace: the traced function.
        known: results of all analyzers as constants by tensor name.
        out: local directory.
    """
    model = os.path.join(trace.temp_dir, "transform_fn")
    metadata = write_transform_fn(trace.preprocessing_fn, trace.specs, trace.temp_dir, trace.fingerprint, known, model)
    with atomic_directory(out) as temporary:
        shutil.move(model, temporary / "transform_fn")
        metadata_io.write_metadata(metadata, str(temporary / "transformed_metadata"))
        if trace.asset_map:
            (temporary / "transformed_metadata" / _ASSET_MAP).write_text(json.dumps(dict(trace.asset_map)))


class _NeedsInputs(Exception):
    """An annotation that depends on the inputs' placeholders."""


def _annotations(outputs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Ranges, extra annotations and sparse shapes of the outputs, as tensors of the graph that is being traced."""
    graph = tf.compat.v1.get_default_graph()
    names = schema_inference._get_tensor_value_to_key_map(outputs)
    found = {
        **schema_inference._get_schema_overrides(graph, names, *_RANGES),
        **schema_inference._get_schema_overrides(graph, names, *_ANNOTATIONS),
    }
    field = schema_inference._METADATA_SPARSE_OUTPUT_OVERRIDES_FIELD
    found[field] = [schema_inference._get_sparse_output_annotations_v2(graph, names)]
    return found


def _evaluated(annotations: dict[str, list[Any]], concrete: Any) -> dict[str, Any]:
    leaves = tf.nest.flatten(annotations)
    deferred = [leaf for leaf in leaves if isinstance(leaf, tf.Tensor) and not hasattr(leaf, "numpy")]
    values: list[Any] = []
    if deferred:
        wrapped = wrap_function.WrappedFunction(
            concrete.graph, variable_holder=wrap_function.VariableHolder(share_variables=True)
        )
        try:
            values = list(wrapped.prune(feeds=[], fetches=deferred)())
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise _NeedsInputs from error
    remaining = iter(values)
    constants = [
        next(remaining) if isinstance(leaf, tf.Tensor) and not hasattr(leaf, "numpy") else tf.convert_to_tensor(leaf)
        for leaf in leaves
    ]
    return tf.nest.pack_sequence_as(annotations, constants)
