"""Writing of TFT's output: the transform graph with all analyzers' results in it, and the transformed metadata.

TFT traces the preprocessing_fn once for the graph and once more for the metadata. Here one trace gives both: annotations are
read off the same graph and evaluated in a pruned copy. Where that is not possible TFT's second trace is taken.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform import graph_context, impl_helper, schema_inference, tf2_utils
from tensorflow_transform.saved import saved_transform_io_v2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

from engine.machine.garbage import pause_collection
from engine.storage.destination import Destination
from transforms.output.analyzer_results import write_analyzer_results
from transforms.output.final_graph import FinalGraph, Unfit
from transforms.output.row_check import Sample, check_rows, outputs_to_check
from transforms.tft.impl import check_fingerprint, constants_of, trace_metadata
from transforms.tft.lean_reductions import lean_reductions
from transforms.tracing.annotations import annotations_of, evaluate_annotations
from transforms.tracing.trace import Trace
from transforms.tracing.user_function import UserFunction

__all__ = ["write_transform_fn", "write_transform_output"]

_log = logging.getLogger(__name__)
_ASSET_MAP = "asset_map"  # beside the schema, as TFT writes it


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
        seen["annotations"] = annotations_of(outputs)
        return outputs

    context = graph_context.TFGraphContext(
        module_to_export=tf.Module(), temp_dir=temp_dir, evaluated_replacements=dict(known)
    )
    with pause_collection(), lean_reductions():
        function = impl_helper.get_traced_transform_fn(recording, specs, context, output_keys_to_name_map={})
        concrete = saved_transform_io_v2.write_v2_saved_model(
            context.module_to_export, function, "transform_fn", path, save_options
        )
        inputs = tf2_utils.get_structured_inputs_from_func_graph(concrete.graph)
        check_fingerprint(fingerprint, concrete.graph, inputs)
        try:
            schema = schema_inference.infer_feature_schema_v2(
                concrete.structured_outputs,
                lambda: evaluate_annotations(seen["annotations"], lambda tensors: _evaluated(tensors, concrete)),
                evaluate_schema_overrides=True,
            )
            metadata = dataset_metadata.DatasetMetadata(schema=schema)
        except _NeedsInputs:
            metadata = trace_metadata(concrete, inputs, preprocessing_fn, temp_dir, known)
    metadata_io.write_metadata(metadata, os.path.join(path, impl_helper.METADATA_DIR_NAME))
    if isinstance(preprocessing_fn, UserFunction):
        preprocessing_fn.write(path)
    return metadata


def write_transform_output(
    trace: Trace, known: Mapping[str, tf.Tensor], out: Destination, sample: Callable[[], Sample | None] = lambda: None
) -> None:
    """Writes `transform_fn/` and `transformed_metadata/` so that `tft.TFTransformOutput(out)` reads them.

    The directory appears whole or not at all; one that exists is replaced.

    Args:
        trace: the traced function.
        known: results of all analyzers as constants by tensor name.
        out: gets the graph.
        sample: gives the first records, which the graph is run on before it is written.

    Raises:
        ConfigError: an output with another number of rows than the sample has records, or a table from outside of the function.
    """
    model = os.path.join(trace.temp_dir, "transform_fn")
    try:
        metadata = _write_first_trace(trace, known, model, sample)
    except Unfit as reason:
        _log.debug("the preprocessing_fn is traced again: %s", reason)
        try:
            metadata = write_transform_fn(
                trace.preprocessing_fn, trace.specs, trace.temp_dir, trace.fingerprint, known, model
            )
        except AssertionError as error:
            if "captured by functions must be 'tracked'" not in str(error):
                raise
            raise trace.preprocessing_fn.refuse(
                "uses a lookup table that was made outside of it, which its saved graph cannot hold: make it inside, or by "
                "tft.make_and_track_object inside"
            ) from error
        records = sample()
        if records is not None:  # its own tables and objects are ready in a loaded graph only
            outputs = saved_transform_io_v2.SavedModelLoader(model).apply_transform_model(dict(records[0]))
            check_rows(outputs, records[1], trace.preprocessing_fn, trace.outputs)
    with out.stage() as temporary:
        shutil.move(model, temporary / "transform_fn")
        write_analyzer_results(trace, known, temporary / "transform_fn")
        metadata_io.write_metadata(metadata, str(temporary / "transformed_metadata"))
        if trace.asset_map:
            (temporary / "transformed_metadata" / _ASSET_MAP).write_text(json.dumps(dict(trace.asset_map)))


class _NeedsInputs(Exception):
    """An annotation that depends on the inputs' placeholders."""


def _evaluated(tensors: list[Any], concrete: Any) -> list[Any]:
    found = constants_of(concrete.graph, tensors)
    if found is None:
        raise _NeedsInputs
    return found


def _write_first_trace(
    trace: Trace, known: Mapping[str, tf.Tensor], path: str, sample: Callable[[], Sample | None]
) -> Any:
    """Writes the SavedModel without tracing again, and returns the metadata."""
    final = FinalGraph(trace, known)
    unsure = outputs_to_check(trace.inputs, trace.outputs)
    records = sample() if unsure else None
    with pause_collection():
        if records is not None:
            outputs = final.concrete_function(unsure)(dict(records[0]))
            check_rows(outputs, records[1], trace.preprocessing_fn, trace.outputs)
        function = final.concrete_function()
        schema = schema_inference.infer_feature_schema_v2(
            function.structured_outputs,
            lambda: evaluate_annotations(trace.annotations, final.evaluate),
            evaluate_schema_overrides=True,
        )
        tf.saved_model.save(final.module(function), path)
    metadata = dataset_metadata.DatasetMetadata(schema=schema)
    metadata_io.write_metadata(metadata, os.path.join(path, impl_helper.METADATA_DIR_NAME))
    trace.preprocessing_fn.write(path)
    return metadata
