"""Which variables a traced function writes: a frozen table need not be averaged over the workers, a BatchNorm's mean must.

No property of a variable says so: a frozen layer's weights and a BatchNorm's statistics are both "non-trainable". The graph
says it: the operations that assign, followed back to the handles that the function captured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["written_variables"]

_WRITES = ("Assign", "ResourceScatter", "ResourceApply", "ResourceSparseApply", "ResourceStridedSliceAssign")
_PASS_ON = ("Identity", "IdentityN", "Switch")
_PREDICATED = ("If", "StatelessIf", "Case", "StatelessCase")  # their first input is not an argument of the branches


def written_variables(function: Any, variables: Sequence[Any], parts_of: Any) -> list[Any]:
    """Returns those of the variables that running the function can change.

    Args:
        function: a concrete function.
        variables: tf.Variables, distributed ones too.
        parts_of: a distributed variable to its variables on this host, `strategy.experimental_local_results`.
    """
    graph = function.graph.as_graph_def()
    library = {one.signature.name: one for one in graph.library.function}
    written = _Scan(library).names({node.name: node for node in graph.node})
    handles = {id(outside) for outside, inside in function.graph.captures if inside.op.name in written}
    return [v for v in variables if any(id(part.handle) in handles for part in parts_of(v))]


class _Scan:
    def __init__(self, library: Mapping[str, Any]) -> None:
        self._library = library
        self._known: dict[str, list[int]] = {}

    def names(self, nodes: Mapping[str, Any]) -> set[str]:
        """The sources (placeholders, or arguments that are not nodes) whose resource some node writes."""
        return {_source(nodes, name) for node in nodes.values() for name in self._written_inputs(node)}

    def _written_inputs(self, node: Any) -> list[str]:
        inputs = [name for name in node.input if not name.startswith("^")]
        if node.op.startswith(_WRITES):
            return inputs
        first = 1 if node.op in _PREDICATED else 0
        found = []
        for attribute in node.attr.values():
            for called in [*([attribute.func] if attribute.HasField("func") else []), *attribute.list.func]:
                places = self._arguments(called.name) if called.name in self._library else []
                found += [inputs[first + i] for i in places if first + i < len(inputs)]
        return found

    def _arguments(self, name: str) -> list[int]:
        """The places of a function's arguments whose resource it writes."""
        if name not in self._known:
            self._known[name] = []  # a function that calls itself
            body = self._library[name]
            written = self.names({node.name: node for node in body.node_def})
            self._known[name] = [i for i, arg in enumerate(body.signature.input_arg) if arg.name in written]
        return self._known[name]


def _source(nodes: Mapping[str, Any], name: str) -> str:
    name = name.split(":")[0]
    while name in nodes and nodes[name].op in _PASS_ON:
        name = nodes[name].input[0].split(":")[0]
    return name
