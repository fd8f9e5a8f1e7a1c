"""What the analyzers found, for people and reports: boundaries, moments and ranges as JSON beside the transform graph.

The graph itself holds them as captured constants without names. Vocabularies are files of the graph already, so they and their
sizes are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from transforms.tracing.trace import Trace

__all__ = ["RESULTS", "write_analyzer_results"]

RESULTS = "assets.extra/analyzer_results.json"  # in the SavedModel, where TensorFlow leaves room for others
_VERSION = 1
_MOST = 100  # numbers of one analyzer that are written
_PLACE = "/temporary_analyzer_output"  # where TFT lets an analyzer's result enter the graph


def write_analyzer_results(trace: Trace, known: Mapping[str, tf.Tensor], directory: Path) -> None:
    """Writes the results of all analyzers that give numbers, `_MOST` of each at most.

    Args:
        trace: the traced function.
        known: results by tensor name.
        directory: of the SavedModel.
    """
    used = _outputs_by_operation(trace)
    vocabularies = {_analyzer(sink) for sink in trace.sinks if sink.is_asset_filepath}
    found: dict[str, dict[str, Any]] = {}
    for sink in trace.sinks:
        operation, analyzer = sink.tensor.op.name, _analyzer(sink)
        if analyzer in vocabularies:
            continue
        value = known[sink.tensor.name].numpy()
        if value.dtype.kind not in "iufb":
            continue
        entry = found.setdefault(analyzer, {"analyzer": analyzer, "size": 0, "values": [], "outputs": []})
        entry["size"] += int(value.size)
        entry["values"] += _plain(value.reshape(-1)[: max(_MOST - len(entry["values"]), 0)].tolist())
        entry["outputs"] = sorted({*entry["outputs"], *used.get(operation, ())})
        line = trace.preprocessing_fn.lines.get(operation)
        if line:
            entry["line"] = line
    path = directory / RESULTS
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"version": _VERSION, "results": list(found.values())}, indent=1), encoding="utf-8")


def _analyzer(sink: Any) -> str:
    """Returns the name of the analyzer that a result is of; one analyzer may give several."""
    return str(sink.tensor.op.name).partition(_PLACE)[0]


def _plain(values: list[Any]) -> list[Any]:
    """Returns numbers that JSON has; what it has not (NaN, infinity) as text."""
    return [v if isinstance(v, bool | int) or v - v == 0 else str(v) for v in values]


def _outputs_by_operation(trace: Trace) -> dict[str, set[str]]:
    """Returns which outputs of the function each analyzer's result goes into."""
    results = {sink.tensor.op.name for sink in trace.sinks}
    used: dict[str, set[str]] = {}
    for name, value in trace.outputs.items():
        for operation in _ancestors(tf.nest.flatten(value, expand_composites=True)):
            if operation in results:
                used.setdefault(operation, set()).add(name)
    return used


def _ancestors(tensors: list[Any]) -> Iterator[str]:
    seen: set[str] = set()
    waiting = [tensor.op for tensor in tensors]
    while waiting:
        operation = waiting.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        yield operation.name
        waiting += [tensor.op for tensor in operation.inputs]
