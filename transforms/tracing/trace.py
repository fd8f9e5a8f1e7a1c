"""Tracing of a user's preprocessing_fn by TFT, with a note of each per-batch reduction that TFT puts before an analyzer.

TFT's analyzers reduce each batch inside the TensorFlow graph (counts, means, minima) and combine the results. Knowing
which raw tensor a reduction came from, an accumulator can take that raw tensor, and a column that arrives there
untouched need not enter TensorFlow at all. The notes are taken by wrapping the functions of `tf_utils` while tracing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform import (
    analyzer_nodes,
    annotators,
    graph_context,
    graph_tools,
    impl_helper,
    tf2_utils,
)

from transforms.tft.annotations import RANGED_TENSORS, tensor_keys
from transforms.tft.lean_reductions import lean_reductions
from transforms.tracing.annotations import annotations_of
from transforms.tracing.inner_graphs import refusing_inner_analyzers
from transforms.tracing.made_beside import MadeBeside, TableSize
from transforms.tracing.reductions import NotedReduction, noting_reductions
from transforms.tracing.user_function import UserFunction

__all__ = ["Trace", "trace"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trace:
    """A traced preprocessing_fn.

    Attributes:
        preprocessing_fn: the user's function.
        specs: type spec of each input feature.
        graph: the traced `FuncGraph`.
        inputs: placeholders by feature.
        outputs: output tensors by feature.
        sinks: `TensorSink`s: what analyzers must provide.
        reductions: noted reductions by name of each tensor they returned.
        annotations: what the outputs are annotated with, as tensors.
        table_sizes: placeholders for sizes of tables.
        resources: lookup tables on vocabularies; None where the function makes anything else that must be saved.
        asset_map: annotated assets, as `tft.annotate_asset` wrote them.
        temp_dir: directory of temporary assets.
        ranged_features: outputs whose range of integers the analyzers will tell.
    """

    preprocessing_fn: UserFunction
    specs: Mapping[str, tf.TypeSpec]
    graph: Any
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    sinks: tuple[Any, ...]
    reductions: Mapping[str, NotedReduction]
    annotations: dict[str, list[Any]]
    table_sizes: tuple[TableSize, ...]
    resources: tuple[Any, ...] | None
    asset_map: Mapping[str, str]
    temp_dir: str
    ranged_features: tuple[str, ...]

    @functools.cached_property
    def components(self) -> Mapping[str, tuple[str, int]]:
        """(feature, component index) by placeholder name; components are in the order of `tf.nest.flatten`."""
        return {
            tensor.name: (feature, index)
            for feature, value in self.inputs.items()
            for index, tensor in enumerate(tf.nest.flatten(value, expand_composites=True))
        }

    @functools.cached_property
    def fingerprint(self) -> Mapping[str, Any]:
        """What TFT compares later traces with."""
        fingerprint: Mapping[str, Any] = graph_tools.get_analyzers_fingerprint(self.graph, self.inputs)
        return fingerprint


def trace(preprocessing_fn: Callable[..., Any], specs: Mapping[str, tf.TypeSpec], temp_dir: str) -> Trace:
    """Returns the traced function.

    Args:
        preprocessing_fn: as TFT takes it, unchanged.
        specs: type spec of each input feature.
        temp_dir: existing directory for temporary assets.

    Raises:
        ConfigError: when the function raises, returns anything but a dict of tensors with one row a record, makes trainable
            variables, or calls an analyzer in an inner graph; it names the user's file and line.
    """
    function = preprocessing_fn if isinstance(preprocessing_fn, UserFunction) else UserFunction(preprocessing_fn)
    noted: dict[str, NotedReduction] = {}
    ranged: list[str] = []
    annotations: dict[str, list[Any]] = {}
    tables = MadeBeside()

    def recording(features: Any) -> Any:
        begin()
        result = function(features)
        ranged.extend(_ranged_features(result))
        annotations.update(annotations_of(result))
        return result

    module = tf.Module()
    context = graph_context.TFGraphContext(module_to_export=module, temp_dir=temp_dir, evaluated_replacements=None)
    with refusing_inner_analyzers(function) as begin, lean_reductions(noting_reductions(noted)), tables.watching():
        traced = impl_helper.get_traced_transform_fn(recording, specs, context)
        concrete = traced.get_concrete_function()
    graph, outputs = concrete.graph, concrete.structured_outputs
    inputs = tf2_utils.get_structured_inputs_from_func_graph(graph)
    function.check_shapes(outputs)
    trainable = graph.get_collection(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)
    if trainable:
        raise function.refuse(f"made trainable variables, which an analysis cannot train: {trainable}")
    for path in tables.missing_files():
        raise function.refuse(f"makes a lookup table of the file {path!r}, which does not exist")
    asset_map = annotators.get_asset_annotations(graph)
    annotators.clear_asset_annotations(graph)
    return Trace(
        preprocessing_fn=function,
        specs=dict(specs),
        graph=graph,
        inputs=inputs,
        outputs=outputs,
        sinks=tuple(graph.get_collection(analyzer_nodes.TENSOR_REPLACEMENTS)),
        reductions=noted,
        annotations=annotations,
        table_sizes=tuple(tables.sizes),
        resources=tables.resources(graph),
        asset_map=asset_map,
        temp_dir=temp_dir,
        ranged_features=tuple(ranged),
    )


def _ranged_features(outputs: Mapping[str, Any]) -> list[str]:
    names = tensor_keys(outputs)
    graph = tf.compat.v1.get_default_graph()
    tensors = graph.get_collection(RANGED_TENSORS)
    return [names[tensor.name] for tensor in tensors if tensor.name in names]
