"""Keys of an analyzer's states: a hash of all that a state depends on besides the data."""

from __future__ import annotations

import hashlib
import pickle  # nosec B403 - only written, to be hashed
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pyarrow as pa

from transforms.batches.columns import ColumnInput
from transforms.passes.analysis import AnalysisPass, PassAnalyzer
from transforms.tracing.function_hash import function_hash

__all__ = ["analyzer_key", "states_salt"]

# Operations that read what is not in the graph: their content is unknown, so such a state is never found again.
_READ_FILES = frozenset({"ReadFile", "MatchingFiles", "WholeFileReaderV2", "TextLineReaderV2", "ReaderReadV2"})
_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


def states_salt() -> bytes:
    """Returns what all states depend on: the versions of what computes them."""
    return repr([(name, metadata.version(name)) for name in ("tensorflow", "tensorflow-transform")]).encode()


def analyzer_key(plan: AnalysisPass, analyzer: PassAnalyzer, schema: pa.Schema | None) -> str | None:
    """Returns a hash of accumulator, inputs, the graph before it and how its features are read: the same in each process.

    Renamed or reordered operations give another key: then a span is read again. None where the graph cannot be distinguished from
    others: it has tables, reads files, or calls Python code that cannot be hashed.

    Args:
        plan: the pass.
        analyzer: one of its analyzers.
        schema: of the data set as it is read (default values are part of it), or None where the source says it all.
    """
    accumulator = analyzer.accumulator
    digest = hashlib.blake2b(states_salt(), digest_size=20)
    digest.update(repr((accumulator.name, accumulator.version, type(accumulator).__qualname__)).encode())
    digest.update(pickle.dumps(vars(accumulator), protocol=4))  # hashed, never stored
    features: set[str] = set()
    for each in analyzer.inputs:
        if isinstance(each, ColumnInput):
            digest.update(repr(each).encode())
            features.add(each.feature)
        else:
            found = _tensor_hash(plan.function, each)
            if found is None:
                return None
            digest.update(found[0])
            features |= found[1]
    for feature in sorted(features):
        digest.update(_feature_hash(plan.source, feature, schema))
    return digest.hexdigest()


def _feature_hash(source: Any, feature: str, schema: pa.Schema | None) -> bytes:
    fields = [schema.field(column) for column in source.columns_of(feature)] if schema is not None else []
    described = [(each.name, str(each.type), each.nullable, sorted((each.metadata or {}).items())) for each in fields]
    return repr((source.description(feature), described)).encode()


def _tensor_hash(function: Any, fetch: int) -> tuple[bytes, set[str]] | None:
    """Returns a hash of the graph before a fetched tensor, and the features that it reads; None where it cannot be determined."""
    if not hasattr(function, "graph_def"):
        return None  # a SavedModel with tables
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef.FromString(function.graph_def)
    name = function.fetches[fetch]
    before = tf.compat.v1.graph_util.extract_sub_graph(graph_def, [name.partition(":")[0]])
    digest = hashlib.blake2b(digest_size=16)
    for node in _all_nodes(before):
        if node.op in _READ_FILES:
            return None
        if node.op in _PYTHON:
            body = _body(node)
            if body is None:
                return None
            node.attr["token"].s = body  # tokens are numbers in the order of calls in this process
    digest.update(name.encode() + before.SerializeToString(deterministic=True))
    nodes = {each.name for each in before.node}
    feeds = {n: f for n, f in zip(function.feed_names, function.feeds) if n.partition(":")[0] in nodes}
    digest.update(repr(sorted(feeds.items())).encode())
    for constant, value in zip(function.constant_names, function.constants):
        if constant.partition(":")[0] in nodes:
            digest.update(repr((constant, value.dtype.str, value.shape)).encode())
            digest.update(pickle.dumps(value.tolist(), protocol=4))
    return digest.digest(), {feature for feature, _ in feeds.values()}


def _all_nodes(graph_def: Any) -> Iterator[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _body(node: Any) -> bytes | None:
    """Returns a hash of the Python function of an operation, or None where it cannot be determined."""
    from transforms.tft.tables import python_function

    function = python_function(node.attr["token"].s.decode())
    return None if function is None else function_hash(function)
