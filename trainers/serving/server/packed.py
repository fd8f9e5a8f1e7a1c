"""Requests and answers that never become Python's own values: rows read, joined and written natively, a batch at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainers import _serving
from trainers._serving import Packed
from trainers.serving.server.signatures import Signature, TensorSpec

__all__ = [
    "Packed",
    "Spans",
    "arrays_of",
    "classes_message",
    "joined",
    "message_spec",
    "outputs_message",
    "predictions_json",
    "regressions_message",
    "request_reader",
]

_MOST_DIMS = 8
Spans = Sequence[tuple[int, int]]  # rows of a batch, each span without its last


def request_reader(signatures: Mapping[str, Signature]) -> _serving.RequestReader:
    """Returns a reader of `:predict` bodies in row format and of the messages of Predict, Classify and Regress, for what it can read.

    What it reads, `from_json` and `from_proto` read alike; what it returns None for is theirs to read or to refuse.
    """
    reader = _serving.RequestReader()
    for name, signature in signatures.items():
        # An input of this name looks like a value in base64.
        if not signature.batches or not signature.pads or not signature.inputs or "b64" in signature.inputs:
            continue
        if signature.parsed and signature.examples_input is None:
            continue  # examples beside other inputs: looked into the other way
        inputs = [(key, _kind(spec), _dims(spec)) for key, spec in signature.inputs.items()]
        if all(kind and len(dims) <= _MOST_DIMS for _, kind, dims in inputs):
            reader.add(name, inputs, signature.examples_input is not None)
    return reader


def joined(requests: Sequence[Packed], rows: int) -> dict[str, Any]:
    """Returns the inputs of requests that join: arrays, or flat lists of bytes, padded to so many rows with copies of the first."""
    columns = _serving.join_packed(requests, rows)
    for position, (name, column) in enumerate(columns.items()):
        dims = requests[0].shape(position)
        if isinstance(column, list) and dims:
            columns[name] = np.array(column, object).reshape(-1, *dims)
    return columns


def arrays_of(request: Packed) -> dict[str, np.ndarray]:
    """Returns the inputs of one request as arrays."""
    columns = joined([request], request.rows)
    return {name: np.array(column, object) if isinstance(column, list) else column for name, column in columns.items()}


def predictions_json(outputs: Mapping[str, np.ndarray], spans: Spans) -> list[bytes] | None:
    """Returns `{"predictions": ...}` of each span of rows; None where an output is not of numbers."""
    return _serving.predictions_json([(json.dumps(name), value) for name, value in outputs.items()], spans)


def outputs_message(outputs: Mapping[str, np.ndarray], spans: Spans) -> list[bytes] | None:
    """Returns the bytes of a PredictResponse with the outputs of each span of rows; None where an output is not of numbers."""
    return _serving.outputs_message(list(outputs.items()), spans)


def classes_message(scores: np.ndarray, labels: Sequence[bytes] | None, spans: Spans) -> list[bytes]:
    """Returns the bytes of a ClassificationResponse with each span of scores, float32 [n, k], and of labels, row after row."""
    return _serving.classes_message(scores, labels, spans)


def regressions_message(values: np.ndarray, spans: Spans) -> list[bytes]:
    """Returns the bytes of a RegressionResponse with the result of each span of float32 [n]."""
    return _serving.regressions_message(values, spans)


def message_spec(body: bytes) -> bytes | None:
    """Returns the bytes of the ModelSpec of a request of Predict, Classify or Regress; None for one that has more than it and inputs."""
    return _serving.model_spec(body)


def _kind(spec: TensorSpec) -> str:
    if spec.is_string:
        return "bytes"
    return spec.dtype.name if spec.dtype.name in ("float32", "float64", "int32", "int64") else ""


def _dims(spec: TensorSpec) -> list[int]:
    return [-1 if size is None else size for size in (spec.shape or ())[1:]]
