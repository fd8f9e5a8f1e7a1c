"""The plan of an analysis: which analyzers run in which phase, on which tensors or columns.

A phase is one pass over the data. All analyzers whose inputs depend only on the data and on outputs of earlier phases
run in it together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_transform import analyzer_nodes, graph_tools

from transforms.accumulators import Accumulator, Reduction, SourceInfo, accumulator_for
from transforms.planning.finishers import evaluator_for
from transforms.planning.operands import ColumnInput, TensorInput, find_input
from transforms.tracing.reductions import NotedReduction
from transforms.tracing.trace import Trace

__all__ = ["Phase", "PlannedAnalyzer", "Unsupported", "plan_phase", "unsupported_operations"]

ACCUMULATE_OPERATIONS = (
    analyzer_nodes.VocabularyAccumulate,
    analyzer_nodes.CacheableCombineAccumulate,
    analyzer_nodes.CacheableCombinePerKeyAccumulate,
)


@dataclasses.dataclass(frozen=True)
class Unsupported:
    """An operation that only TFT's own implementation can do.

    Attributes:
        label: its label in the user's graph.
        reason: why, in words.
    """

    label: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedAnalyzer:
    """One Accumulate operation of a phase.

    Attributes:
        label: of the operation, unique.
        accumulator: what does it.
        inputs: where each array of `Accumulator.update` comes from.
        operation: TFT's operation definition.
    """

    label: str
    accumulator: Accumulator
    inputs: tuple[ColumnInput | TensorInput, ...]
    operation: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """One pass over the data.

    Attributes:
        number: from 0.
        analyzers: Accumulate operations that it runs; may be empty where only evaluators are left.
        sinks: `TensorSink`s that are known after it.
    """

    number: int
    analyzers: tuple[PlannedAnalyzer, ...]
    sinks: tuple[Any, ...]


def plan_phase(trace: Trace, number: int, known: set[str]) -> Phase:
    """Returns the next phase, given the names of the sink tensors that are known already.

    Args:
        trace: the traced function.
        number: of the phase, from 0.
        known: names of sink tensors that earlier phases provided.

    Raises:
        RuntimeError: analyzers are left, and none of them can run.
    """
    ready = [(_hashable(sink.tensor), sink.tensor.name in known) for sink in trace.sinks]
    analyzer = graph_tools.InitializableGraphAnalyzer(trace.graph, trace.inputs, ready)
    sinks = tuple(sink for sink in trace.sinks if sink.tensor.name not in known and _is_ready(sink.future, analyzer))
    if not sinks:
        raise RuntimeError(f"no analyzer can run in phase {number}: {[sink.tensor.name for sink in trace.sinks]}")
    consumers = _consumers(trace)
    analyzers: dict[str, PlannedAnalyzer] = {}
    for node in _accumulate_nodes(sinks):
        definition = node.operation_def
        if definition.label not in analyzers:
            analyzers[definition.label] = _plan_analyzer(trace, node, consumers)
    return Phase(number=number, analyzers=tuple(analyzers.values()), sinks=sinks)


def unsupported_operations(trace: Trace) -> list[Unsupported]:
    """Returns the operations of the user's graph that have neither accumulator nor evaluator, in graph order."""
    found: dict[str, Unsupported] = {}
    consumers = _consumers(trace)
    for node in _operations(trace.sinks):
        definition = node.operation_def
        if isinstance(definition, analyzer_nodes.TensorSource):
            continue
        if isinstance(definition, ACCUMULATE_OPERATIONS):
            source = _source_info(trace, _source_of(node))
            if source is None:
                found[definition.label] = Unsupported(definition.label, "its input is not a plain tensor source")
            elif accumulator_for(definition, source, _downstream(node, consumers)) is None:
                combiner = getattr(definition, "combiner", None)
                what = type(combiner).__name__ if combiner is not None else type(definition).__name__
                found[definition.label] = Unsupported(definition.label, f"no accumulator is registered for {what}")
        elif evaluator_for(definition) is None:
            what = type(getattr(definition, "ptransform", definition)).__name__
            found[definition.label] = Unsupported(definition.label, f"{what} is not an operation of Fullpass")
    return list(found.values())


def _plan_analyzer(trace: Trace, node: Any, consumers: dict[str, list[Any]]) -> PlannedAnalyzer:
    definition = node.operation_def
    source = _source_of(node)
    info = _source_info(trace, source)
    assert info is not None
    accumulator = accumulator_for(definition, info, _downstream(node, consumers))
    if accumulator is None:
        raise RuntimeError(f"no accumulator for {definition}")
    noted = _noted(trace, source)
    if accumulator.wants_raw:
        inputs = tuple(find_input(trace, tensor) for tensor in noted.raw)
    else:
        inputs = tuple(find_input(trace, tensor, allow_column=False) for tensor in source.tensors)
    return PlannedAnalyzer(label=definition.label, accumulator=accumulator, inputs=inputs, operation=definition)


def _source_of(node: Any) -> Any:
    definition = node.inputs[0].parent_operation.operation_def
    return definition if isinstance(definition, analyzer_nodes.TensorSource) else None


def _source_info(trace: Trace, source: Any) -> SourceInfo | None:
    if source is None:
        return None
    noted = _noted(trace, source)
    return SourceInfo(
        dtypes=tuple(tensor.dtype.as_numpy_dtype.__name__.rstrip("_") for tensor in source.tensors),
        shapes=tuple(None if t.shape.rank is None else tuple(t.shape.as_list()) for t in source.tensors),
        reduction=noted.reduction if noted else None,
    )


def _noted(trace: Trace, source: Any) -> Any:
    """The reduction that made the source's tensors, when the first two of them come from the same one."""
    if len(source.tensors) == 1 and source.tensors[0].name not in trace.reductions:
        return _sum_of(source.tensors[0])
    notes = [trace.reductions.get(tensor.name) for tensor in source.tensors[:2]]
    return notes[0] if all(note is notes[0] for note in notes) else None


def _sum_of(tensor: Any) -> NotedReduction | None:
    """The sum over all dimensions, or over the first alone, that a tensor is; None for any other tensor."""
    if tensor.op.type != "Sum" or tensor.shape.rank is None:
        return None
    raw, axes = tensor.op.inputs
    if tensor.shape.rank == 0:
        name = "reduce_sum"
    elif np.array_equal(tf.get_static_value(axes), 0) and raw.shape.rank == tensor.shape.rank + 1:
        name = "reduce_sum_of_rows"
    else:
        return None
    shape = None if raw.shape.rank is None else tuple(raw.shape.as_list())
    dtype = raw.dtype.as_numpy_dtype.__name__
    reduction = Reduction(name=name, arguments={}, kinds=("dense",), dtypes=(dtype,), shapes=(shape,))
    return NotedReduction(reduction=reduction, raw=(raw,))


def _is_ready(value: Any, analyzer: Any) -> bool:
    node = value.parent_operation
    if isinstance(node.operation_def, analyzer_nodes.TensorSource):
        return all(analyzer.ready_to_run(tensor) for tensor in node.operation_def.tensors)
    return all(_is_ready(each, analyzer) for each in node.inputs)


def _operations(sinks: Any) -> Iterator[Any]:
    seen: set[int] = set()

    def visit(node: Any) -> Iterator[Any]:
        if id(node) in seen:
            return
        seen.add(id(node))
        for value in node.inputs:
            yield from visit(value.parent_operation)
        yield node

    for sink in sinks:
        yield from visit(sink.future.parent_operation)


def _accumulate_nodes(sinks: Any) -> Iterator[Any]:
    return (node for node in _operations(sinks) if isinstance(node.operation_def, ACCUMULATE_OPERATIONS))


def _consumers(trace: Trace) -> dict[str, list[Any]]:
    result: dict[str, list[Any]] = {}
    for node in _operations(trace.sinks):
        for value in node.inputs:
            result.setdefault(value.parent_operation.operation_def.label, []).append(node)
    return result


def _downstream(node: Any, consumers: dict[str, list[Any]]) -> tuple[Any, ...]:
    found: dict[str, Any] = {}
    frontier = [node]
    while frontier:
        following = [user for each in frontier for user in consumers.get(each.operation_def.label, [])]
        frontier = [user for user in following if user.operation_def.label not in found]
        found.update((user.operation_def.label, user.operation_def) for user in frontier)
    return tuple(found.values())


def _hashable(tensor: Any) -> Any:
    from tensorflow_transform import tf_utils

    return tf_utils.hashable_tensor_or_op(tensor)
