"""The part of the traced graph that a phase needs, as bytes that a worker runs once a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["GraphFunction", "SavedModelFunction", "cut_graph"]


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

        graph_def = tf.compat.v1.GraphDef.FromString(function.graph_def)
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
        # Batches are the unit of parallelism: one thread an operation, so that workers do not get in each other's way.
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        names = [*function.feed_names, *function.constant_names]
        self._constants = list(function.constants)
        self._call = self._session.make_callable(list(function.fetches), feed_list=names)

    def __call__(self, feeds: Sequence[Any]) -> list[np.ndarray]:
        """Returns the fetched arrays for the fed ones."""
        return self._call(*feeds, *self._constants)

    def close(self) -> None:
        """Frees the session."""
        self._session.close()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedModelFunction:
    """The same for graphs with tables and other resources: a SavedModel that TFT wrote for the phase.

    Attributes:
        path: directory of the SavedModel.
        feeds: (feature, component) of everything to feed.
        fetches: output keys.
        kinds: "dense", "sparse" or "ragged" of each feature.
    """

    path: str
    feeds: tuple[tuple[str, int], ...]
    fetches: tuple[str, ...]
    kinds: Mapping[str, str]

    def open(self) -> OpenSavedModel:
        """Returns the model loaded in this process. Imports TensorFlow."""
        return OpenSavedModel(self)


class OpenSavedModel:
    """A loaded SavedModel of a phase.

    Args:
        function: what to load.
    """

    def __init__(self, function: SavedModelFunction) -> None:
        from tensorflow_transform.saved import saved_transform_io_v2

        self._function = function
        self._loader = saved_transform_io_v2.SavedModelLoader(function.path)

    def __call__(self, feeds: Sequence[Any]) -> list[np.ndarray]:
        """Returns the fetched arrays for the fed ones."""
        import tensorflow as tf

        arrays: dict[str, list[Any]] = {}
        for (feature, _), array in zip(self._function.feeds, feeds):
            arrays.setdefault(feature, []).append(array)
        inputs = {name: _rebuild(tf, parts, self._function.kinds[name]) for name, parts in arrays.items()}
        outputs = self._loader.apply_transform_model(inputs)
        return [np.asarray(outputs[key]) for key in self._function.fetches]

    def close(self) -> None:
        """Frees the model."""
        self._loader = None


def _rebuild(tf: Any, parts: list[Any], kind: str) -> Any:
    tensors = [tf.constant(part) for part in parts]
    if kind == "sparse":
        return tf.SparseTensor(*tensors)
    if kind == "ragged":
        return tf.RaggedTensor.from_nested_row_splits(tensors[0], tensors[1:], validate=False)
    return tensors[0]


def cut_graph(trace: Any, fetches: Sequence[str], known: Sequence[str]) -> GraphFunction | None:
    """Returns the part of the traced graph that gives the tensors, or None where it needs tables or other resources.

    Args:
        trace: the traced function.
        fetches: names of the tensors.
        known: names of the tensors that earlier phases provide.
    """
    import tensorflow as tf

    from transforms.planning.operands import input_components

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
    places = {name: place for name, place in input_components(trace.inputs).items() if name.split(":")[0] in kept}
    return GraphFunction(
        graph_def=cut.SerializeToString(),
        feeds=tuple(places.values()),
        feed_names=tuple(places),
        fetches=tuple(fetches),
        constant_names=tuple(used),
    )
