"""Which inputs of a signature a model parses as tf.Examples: any other string is a text, an image, a key, and is nobody's to look into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

__all__ = ["parsed_inputs"]

_PARSERS = frozenset(
    (
        "ParseExample",
        "ParseExampleV2",
        "ParseSequenceExample",
        "ParseSequenceExampleV2",
        "ParseSingleExample",
        "ParseSingleSequenceExample",
    )
)
# What they give is no longer what the client sent.
_OTHER_BYTES = frozenset(
    (
        "DecodeBase64",
        "DecodeCompressed",
        "ReadFile",
        "RegexReplace",
        "StaticRegexReplace",
        "StringJoin",
        "Substr",
    )
)
# Operations that give their functions other arguments than their own inputs: so many inputs stand before those.
_BEFORE = {"Case": 1, "If": 1, "StatelessCase": 1, "StatelessIf": 1}


def parsed_inputs(meta_graph: Any, definition: Any) -> frozenset[str]:
    """Returns the names of the inputs whose strings reach an operation that parses tf.Examples or tf.SequenceExamples.

    Args:
        meta_graph: `MetaGraphDef` of the model.
        definition: `SignatureDef` of the signature.
    """
    graph = meta_graph.graph_def
    walk = _Walk({each.signature.name: each for each in graph.library.function})
    consumers = _consumers(graph.node)
    return frozenset(
        name for name, info in definition.inputs.items() if walk.reaches_parser(consumers, info.name.partition(":")[0])
    )


_Consumers = dict[str, list[tuple[Any, int]]]


def _consumers(nodes: Iterable[Any]) -> _Consumers:
    """Nodes by the name of what they take, each with the position that it takes it at."""
    found: _Consumers = defaultdict(list)
    for node in nodes:
        for position, source in enumerate(node.input):
            if not source.startswith("^"):
                found[source.partition(":")[0]].append((node, position))
    return found


class _Walk:
    def __init__(self, library: dict[str, Any]) -> None:
        self._library = library
        self._known: dict[tuple[str, int], bool] = {}  # by function and argument
        self._within: dict[str, _Consumers] = {}

    def reaches_parser(self, consumers: _Consumers, start: str) -> bool:
        """Whether what has this name in a graph or function, or what is computed of it, is parsed."""
        seen, todo = {start}, [start]
        while todo:
            for node, position in consumers.get(todo.pop(), ()):
                if (node.op in _PARSERS and position == 0) or self._within_functions(node, position):
                    return True
                if node.name not in seen and node.op not in _OTHER_BYTES:
                    seen.add(node.name)
                    todo.append(node.name)
        return False

    def _within_functions(self, node: Any, position: int) -> bool:
        names = [node.op] if node.op in self._library else []
        for value in node.attr.values():
            names += [value.func.name] if value.HasField("func") else [each.name for each in value.list.func]
        argument = position - _BEFORE.get(node.op, 0)
        return any(self._function(name, argument) for name in names if argument >= 0)

    def _function(self, name: str, argument: int) -> bool:
        function = self._library.get(name)
        if function is None or argument >= len(function.signature.input_arg):
            return False
        key = (name, argument)
        if key not in self._known:
            self._known[key] = False  # one that calls itself is being looked through
            if name not in self._within:
                self._within[name] = _consumers(function.node_def)
            self._known[key] = self.reaches_parser(self._within[name], function.signature.input_arg[argument].name)
        return self._known[key]
