"""The transform graph made of the first trace: analyzers' results take the places that TFT left for them.

TFT traces the preprocessing_fn again once its analyzers are known. The first trace has everything already: a result is a
placeholder or, where it is a file, a path that lookup tables were built on. So placeholders become constants, and tables are
pointed at the files that the analysis wrote. A function that makes anything else (variables, tables of its own, tracked
objects, a use of a vocabulary's path) is traced again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_transform import tf_utils

from transforms.tft.impl import asset_replacements
from transforms.tft.tables import file_of, initializer_of, point_at, share_destroyer
from transforms.tracing.trace import Trace

__all__ = ["FinalGraph", "Unfit"]

_TEMPORARY_ASSETS = b"analyzer_temporary_assets"  # TFT's directory of files that stand for vocabularies while tracing
_TABLES = (tf.lookup.StaticHashTable, tf.lookup.StaticVocabularyTable)


class Unfit(Exception):
    """The first trace does not do: the function must be traced again."""


class FinalGraph:
    """The traced graph with all results in it.

    Args:
        trace: the traced function.
        known: results of all analyzers as eager tensors by tensor name.

    Raises:
        Unfit: where the function must be traced again.
    """

    def __init__(self, trace: Trace, known: Mapping[str, tf.Tensor]) -> None:
        if trace.resources is None:
            raise Unfit("the function makes variables, tracked objects or lookup tables of its own")
        self._trace = trace
        self._graph_def = trace.graph.as_graph_def()
        self._files = {sink.tensor.name: _path(known[sink.tensor.name]) for sink in trace.sinks if _is_asset(sink)}
        self._constants = {name: value for name, value in known.items() if name not in self._files}
        self._constants.update(self._table_sizes())
        self._known_assets = {path: tf.saved_model.Asset(path) for path in dict.fromkeys(self._files.values())}
        wanted = tf.nest.flatten(dict(trace.outputs), expand_composites=True)
        self._cut = self._part([tensor.op.name for tensor in wanted])
        nodes = {node.name for node in self._cut.node}
        # Captured, as in TFT's graph: constants of the graph would be folded, and results differ in the last bit.
        self._captures = {name: value for name, value in self._constants.items() if _node(name) in nodes}
        self._captures.update(self._used_captures(nodes))
        self._point_tables()

    def concrete_function(self, features: Sequence[str] | None = None) -> Any:
        """Returns the function from inputs to outputs, ready to be saved.

        Args:
            features: outputs that it returns; None for all.
        """
        trace, cut = self._trace, self._cut
        outputs = {name: value for name, value in trace.outputs.items() if features is None or name in features}
        nodes = {node.name for node in cut.node}
        feeds = [tensor.name for tensor in tf.nest.flatten(dict(trace.inputs), expand_composites=True)]
        wanted = tf.nest.flatten(outputs, expand_composites=True)

        @tf.function(input_signature=[dict(trace.specs)], autograph=False)
        def transform_fn(inputs: Any) -> Any:
            given = dict(zip(feeds, tf.nest.flatten(inputs, expand_composites=True)))
            graph = tf.compat.v1.get_default_graph()
            given.update({name: graph.capture(value) for name, value in self._captures.items()})
            given = {name: value for name, value in given.items() if _node(name) in nodes}
            names = [tensor.name for tensor in wanted]
            found = tf.graph_util.import_graph_def(cut, given, names, name="transform")
            for tensor, original in zip(found, wanted):
                tensor.set_shape(original.shape)
            return tf.nest.pack_sequence_as(outputs, found, expand_composites=True)

        return transform_fn.get_concrete_function()

    def module(self, function: Any) -> tf.Module:
        """Returns the module to save, with the attributes that TFT's loader looks for."""
        module = tf.Module()
        module.transform_fn = function
        module.pruned_variables, module.created_variables, module.trackable_objects = [], [], []
        module.resources = [
            table for table in self._trace.resources or () if isinstance(table, tf.lookup.StaticHashTable)
        ]
        module.initializers = [initializer_of(table) for table in module.resources]
        share_destroyer(module.resources)
        module.assets = list(self._known_assets.values())
        return module

    def evaluate(self, tensors: Sequence[tf.Tensor]) -> list[Any]:
        """Returns the values of tensors of the trace that depend on analyzers alone.

        Raises:
            Unfit: where they depend on the inputs or on tables.
        """
        cut = self._part([tensor.op.name for tensor in tensors])
        nodes = {node.name for node in cut.node}
        constants = {name: value for name, value in self._constants.items() if _node(name) in nodes}
        if any(node.op.startswith("Placeholder") and f"{node.name}:0" not in constants for node in cut.node):
            raise Unfit("an annotation depends on the inputs")
        with tf.Graph().as_default() as graph:
            given = {name: tf.constant(value.numpy()) for name, value in constants.items()}
            found = tf.graph_util.import_graph_def(cut, given, [tensor.name for tensor in tensors], name="part")
            with tf.compat.v1.Session(graph=graph) as session:
                values: list[Any] = session.run(found)
                return values

    def _part(self, wanted: list[str]) -> Any:
        """Returns what the nodes need, with placeholders for all results."""
        files = {_node(name) for name in self._files}
        results = {_node(name): value.dtype for name, value in self._constants.items()}
        graph_def = tf.compat.v1.GraphDef()
        graph_def.versions.CopyFrom(self._graph_def.versions)
        graph_def.library.CopyFrom(self._graph_def.library)
        for node in self._graph_def.node:
            if node.name in results:
                new = graph_def.node.add(name=node.name, op="Placeholder")
                new.attr["dtype"].type = results[node.name].as_datatype_enum
                continue
            new = graph_def.node.add()
            new.CopyFrom(node)
            # Only the order of lookups hangs on these: they tell TFT's planner which vocabulary a table needs.
            kept = [each for each in node.input if not (each.startswith("^") and self._follows_file(each[1:], files))]
            if len(kept) != len(node.input):
                del new.input[:]
                new.input.extend(kept)
        cut = tf.compat.v1.graph_util.extract_sub_graph(graph_def, wanted)
        if _TEMPORARY_ASSETS in cut.SerializeToString():
            raise Unfit("the path of a vocabulary is used in the graph")
        return cut

    def _follows_file(self, name: str, files: set[str]) -> bool:
        operation = self._trace.graph.get_operation_by_name(name)
        while operation.type == "Identity":
            operation = operation.inputs[0].op
        return operation.name in files

    def _table_sizes(self) -> dict[str, Any]:
        sizes = {}
        for size in self._trace.table_sizes:
            if size.asset not in self._files:
                raise Unfit("a table is not made from a vocabulary")
            entries = size.extra + _count_lines(self._files[size.asset])
            with tf.init_scope():
                sizes[size.tensor] = tf.constant(entries, tf.int64)
        return sizes

    def _used_captures(self, nodes: set[str]) -> dict[str, Any]:
        handles = {id(table.resource_handle) for table in self._trace.resources or ()}
        used = {}
        for value, placeholder in self._trace.graph.captures:
            if _node(placeholder.name) not in nodes:
                continue
            if value.dtype in (tf.resource, tf.variant) and id(value) not in handles:
                raise Unfit("the graph captures a resource that is not a vocabulary's table")
            used[placeholder.name] = value
        return used

    def _point_tables(self) -> None:
        """Has each table read the file that the analysis wrote when the saved graph is loaded."""
        eager = dict(asset_replacements(self._trace.graph))
        final = {
            _path(eager[tf_utils.hashable_tensor_or_op(sink.tensor)]): self._files[sink.tensor.name]
            for sink in self._trace.sinks
            if _is_asset(sink)
        }
        for table in self._trace.resources or ():
            if isinstance(table, tf.lookup.StaticHashTable):
                point_at(table, self._known_assets[final[_path(file_of(table))]])


def _is_asset(sink: Any) -> bool:
    return bool(sink.is_asset_filepath)


def _node(tensor: str) -> str:
    return tensor.split(":")[0]


def _path(tensor: Any) -> str:
    return os.fsdecode(tensor.numpy())


def _count_lines(path: str) -> int:
    with open(path, "rb") as file:
        return file.read().count(b"\n")
