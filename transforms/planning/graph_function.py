"""The part of the traced graph that a phase needs, as bytes that a worker runs once a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transforms.batches.graph_strings import (
    Strings,
    as_strings,
    parse_proto,
    strings_of,
    taken_apart,
)

__all__ = ["GraphFunction", "cut_graph"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphFunction:
    """A pruned graph with its feeds and fetches; picklable.

    Attributes:
        graph_def: serialized GraphDef.
        feeds: (feature, component index) of each placeholder, in order of `feed_names`.
        feed_names: placeholder names.
        fetches: tensor names.
        constant_names: placeholders that take results of earlier phases.
        constants: their values, once they are known.
    """

    graph_def: bytes
    feeds: tuple[tuple[str, int], ...]
    feed_names: tuple[str, ...]
    fetches: tuple[str, ...]
    constant_names: tuple[str, ...] = ()
    constants: tuple[Any, ...] = ()

    def with_constants(self, values: Mapping[str, Any]) -> GraphFunction:
        """Returns the function with the results of earlier phases, taken by name."""
        return dataclasses.replace(self, constants=tuple(np.asarray(values[name]) for name in self.constant_names))

    def open(self) -> OpenGraph:
        """Returns the graph loaded in this process. Imports TensorFlow."""
        return OpenGraph(self)


class OpenGraph:
    """A loaded graph; may be called from several threads at once.

    Args:
        function: what to load.
    """

    def __init__(self, function: GraphFunction) -> None:
        import tensorflow as tf

        from transforms.tft.session_call import prepared_call

        # Batches are the unit of parallelism. Operations run in the thread that brings the batch: sessions share one pool of
        # operation threads a process, so with a pool of one all workers would wait for that thread.
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
        graph = tf.Graph()
        with graph.as_default():
            feeds, fetched = _import(tf, function)
            fed = {tensor.name for tensor in feeds}
            flat = [
                part
                for t in fetched
                for part in (taken_apart(t) if t.dtype == tf.string else [tf.identity(t) if t.name in fed else t])
            ]
        self._strings = [tensor.dtype == tf.string for tensor in fetched]
        self._parsed = [tensor.dtype == tf.string for tensor in feeds]

        self._session = tf.compat.v1.Session(graph=graph, config=config)
        self._constants = [
            as_strings(value).proto() if parsed else value
            for value, parsed in zip(function.constants, self._parsed[len(function.feed_names) :])
        ]
        self._call = prepared_call(self._session, feeds, flat)

    def __call__(self, feeds: Sequence[Any]) -> list[np.ndarray | Strings]:
        """Returns the fetched arrays for the fed ones; strings as `Strings`."""
        given = [_fed(value) if parsed else value for value, parsed in zip(feeds, self._parsed)]
        found = iter(self._call(*given, *self._constants))
        return [
            strings_of(next(found), next(found), next(found)) if strings else next(found) for strings in self._strings
        ]

    def close(self) -> None:
        """Frees the session."""
        self._session.close()


def _import(tf: Any, function: GraphFunction) -> tuple[list[Any], list[Any]]:
    """Imports the graph with its strings fed as TensorProtos; returns what is fed, and the fetched tensors."""
    graph_def = tf.compat.v1.GraphDef.FromString(function.graph_def)
    names = [*function.feed_names, *function.constant_names]
    nodes = {node.name: node for node in graph_def.node}
    feeds: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for index, name in enumerate(names):
        attributes = nodes[name.split(":")[0]].attr
        if attributes["dtype"].type == tf.string.as_datatype_enum:
            feeds[name] = tf.compat.v1.placeholder(tf.string, [], name=f"fullpass_strings_{index}")
            shape = tf.TensorShape(attributes["shape"].shape) if "shape" in attributes else None
            given[name] = parse_proto(feeds[name], shape)
    kept = [name for name in function.fetches if name not in given]
    found = dict(zip(kept, tf.graph_util.import_graph_def(graph_def, given, kept, name="")))
    graph = tf.compat.v1.get_default_graph()
    fetched = [given[name] if name in given else found[name] for name in function.fetches]
    return [feeds[name] if name in feeds else graph.get_tensor_by_name(name) for name in names], fetched


def _fed(value: Any) -> bytes:
    return (value if isinstance(value, Strings) else as_strings(value)).proto()


def cut_graph(trace: Any, fetches: Sequence[str], known: Sequence[str]) -> GraphFunction | None:
    """Returns the part of the traced graph that gives the tensors, or None where it needs tables or other resources.

    Args:
        trace: the traced function.
        fetches: names of the tensors.
        known: names of the tensors that earlier phases provide.
    """
    import tensorflow as tf

    graph_def = trace.graph.as_graph_def()
    nodes = {name.split(":")[0] for name in fetches}
    cut = tf.compat.v1.graph_util.extract_sub_graph(graph_def, sorted(nodes))
    kept = {node.name for node in cut.node}
    captured = {tensor.name.split(":")[0] for _, tensor in trace.graph.captures}
    stateful = {"VarHandleOp", "HashTableV2", "MutableHashTableV2", "InitializeTableFromTextFileV2"}
    if captured & kept or any(node.op in stateful for node in cut.node):
        return None
    sinks = {sink.tensor.name: sink for sink in trace.sinks}
    used = [name for name in known if name.split(":")[0] in kept]
    if any(sinks[name].is_asset_filepath for name in used):
        return None
    places = {name: place for name, place in trace.components.items() if name.split(":")[0] in kept}
    return GraphFunction(
        graph_def=cut.SerializeToString(),
        feeds=tuple(places.values()),
        feed_names=tuple(places),
        fetches=tuple(fetches),
        constant_names=tuple(used),
    )
