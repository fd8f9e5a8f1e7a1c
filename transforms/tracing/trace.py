"""Tracing of a user's preprocessing_fn by TFT, with a note of each per-batch reduction that TFT puts before an analyzer.

TFT's analyzers reduce each batch inside the TensorFlow graph (counts, means, minima) and combine the results. Knowing
which raw tensor a reduction came from, an accumulator can take that raw tensor, and a column that arrives there
untouched need not enter TensorFlow at all. The notes are taken by wrapping the functions of `tf_utils` while tracing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf
from tensorflow_transform import (
    analyzer_nodes,
    annotators,
    graph_context,
    graph_tools,
    impl_helper,
    tf2_utils,
    tf_utils,
)

from transforms.accumulators.base import Reduction
from transforms.tft.annotations import RANGED_TENSORS, tensor_keys
from transforms.tft.impl import ResourceTracker, asset_replacements, resource_tracker_scope
from transforms.tft.patches import replaced
from transforms.tft.skip_token_filter import lean_reductions
from transforms.tft.tables import file_of, is_file_table, missing_file, table_with_buckets
from transforms.tracing.annotations import annotations_of
from transforms.tracing.user_function import UserFunction

__all__ = ["NotedReduction", "TableSize", "Trace", "trace"]

_NOTED = (
    "reduce_batch_weighted_counts",
    "reduce_batch_count_mean_and_var",
    "reduce_batch_count_mean_and_var_per_key",
    "reduce_batch_minus_min_and_max",
    "reduce_batch_minus_min_and_max_per_key",
    "reduce_batch_count_per_key",
    "reduce_batch_count_l_moments",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotedReduction:
    """A reduction with the tensors it was called on.

    Attributes:
        reduction: what it is, without tensors.
        raw: value tensor of each tensor argument (the values of sparse ones, the flat values of ragged ones).
    """

    reduction: Reduction
    raw: tuple[tf.Tensor, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableSize:
    """The size of a table on a vocabulary that is not known yet.

    Attributes:
        tensor: name of the placeholder.
        asset: name of the sink tensor of the vocabulary's path.
        extra: entries beyond the vocabulary's (out-of-vocabulary buckets).
    """

    tensor: str
    asset: str
    extra: int


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
        ConfigError: when the function raises, returns anything but a dict of tensors with one row a record, or makes trainable
            variables; it names the user's file and line.
    """
    function = preprocessing_fn if isinstance(preprocessing_fn, UserFunction) else UserFunction(preprocessing_fn)
    noted: dict[str, NotedReduction] = {}
    ranged: list[str] = []
    annotations: dict[str, list[Any]] = {}
    tables = _Tables()

    def recording(features: Any) -> Any:
        result = function(features)
        ranged.extend(_ranged_features(result))
        annotations.update(annotations_of(result))
        return result

    module = tf.Module()
    context = graph_context.TFGraphContext(module_to_export=module, temp_dir=temp_dir, evaluated_replacements=None)
    with lean_reductions(), _noting(noted), tables.watching():
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


class _OwnResources(ResourceTracker):
    """Notes the resources of this thread: TensorFlow tells every tracker of the process of each resource that any thread makes."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def add_resource(self, resource: Any) -> None:
        if threading.get_ident() == self._thread:
            super().add_resource(resource)


class _Tables:
    """Notes what a function makes beside its graph while it is traced."""

    def __init__(self) -> None:
        self.sizes: list[TableSize] = []
        self._objects = annotators.ObjectTracker()
        self._resources = _OwnResources()
        self._variables: list[Any] = []
        self._own_lookups = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Notes while in the context."""
        calls = {
            "construct_and_lookup_table": lambda original: functools.partial(self._construct, original),
            "lookup_table": lambda original: functools.partial(self._lookup, original),
        }
        with (
            replaced(tf_utils, calls),
            annotators.object_tracker_scope(self._objects),
            resource_tracker_scope(self._resources),
            tf.variable_creator_scope(self._create_variable),
        ):
            yield

    def resources(self, graph: Any) -> tuple[Any, ...] | None:
        """Returns the tables on vocabularies; None where there is anything else."""
        found = tuple(self._resources.resources)
        if self._own_lookups or self._variables or graph.variables or self._objects.trackable_objects:
            return None
        eager = {path.ref() for _, path in asset_replacements(graph)}
        return found if all(_is_vocabulary_table(table, eager) for table in found) else None

    def missing_files(self) -> Iterator[str]:
        """Yields the files of tables that are not there: TensorFlow would read them when the saved graph is loaded."""
        yield from filter(None, map(missing_file, self._resources.resources))

    def _create_variable(self, next_creator: Any, **kwargs: Any) -> Any:
        variable = next_creator(**kwargs)
        self._variables.append(variable)
        return variable

    def _lookup(self, original: Any, *args: Any, **kwargs: Any) -> Any:
        self._own_lookups += 1
        return original(*args, **kwargs)

    def _construct(self, original: Any, construct: Any, asset_filepath: Any, x: Any) -> Any:
        result, size = original(construct, asset_filepath, x)
        if not hasattr(size, "numpy") or not isinstance(asset_filepath, tf.Tensor) or hasattr(asset_filepath, "numpy"):
            return result, size
        # While tracing a file of one entry stands for the vocabulary.
        placeholder = tf.raw_ops.PlaceholderWithDefault(input=size, shape=[], name="table_size")
        extra = int(size.numpy()) - 1
        self.sizes.append(TableSize(tensor=placeholder.name, asset=asset_filepath.name, extra=extra))
        return result, placeholder


def _is_vocabulary_table(table: Any, eager: set[Any]) -> bool:
    inner = table_with_buckets(table)
    if inner is not None:
        return isinstance(inner, tf.lookup.StaticHashTable)
    if not is_file_table(table):
        return False
    path = file_of(table)
    return hasattr(path, "numpy") and path.ref() in eager


def _noting(noted: dict[str, NotedReduction]) -> contextlib.AbstractContextManager[None]:
    return replaced(tf_utils, {name: functools.partial(_note_calls, name, noted) for name in _NOTED})


def _note_calls(name: str, noted: dict[str, NotedReduction], function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        tensors = [value for value in bound.arguments.values() if _kind(value)]
        raw = tuple(tf_utils.get_values(value) for value in tensors)
        reduction = Reduction(
            name=name,
            arguments={key: value for key, value in bound.arguments.items() if not _kind(value) and value is not None},
            kinds=tuple(_kind(value) for value in tensors),
            dtypes=tuple(value.dtype.as_numpy_dtype.__name__.rstrip("_") for value in raw),
            shapes=tuple(_shape(value) for value in tensors),
        )
        entry = NotedReduction(reduction=reduction, raw=raw)
        for output in result:
            if isinstance(output, tf.Tensor) and hasattr(output, "op"):
                noted[output.name] = entry
        return result

    return noting


def _kind(value: Any) -> str:
    if isinstance(value, tf.SparseTensor):
        return "sparse"
    if isinstance(value, tf.RaggedTensor):
        return "ragged"
    return "dense" if isinstance(value, tf.Tensor) else ""


def _shape(value: Any) -> tuple[int | None, ...] | None:
    return None if value.shape.rank is None else tuple(value.shape.as_list())
