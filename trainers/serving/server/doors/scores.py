"""Classify and Regress: examples of a request, and which outputs are classes, scores, or one number a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trainers.serving.server.doors.tensors import text_of
from trainers.serving.server.errors import InvalidRequest

__all__ = ["classes_of", "examples_of", "regressions_of"]


def examples_of(message: Any) -> list[bytes]:
    """Returns the serialized examples of an `Input` message; features of a context are in each of them.

    Raises:
        InvalidRequest: it has no examples.
    """
    kind = message.WhichOneof("kind")
    if kind == "example_list":
        return [example.SerializeToString() for example in message.example_list.examples]
    if kind == "example_list_with_context":
        out = []
        for example in message.example_list_with_context.examples:
            joined = type(example)()
            joined.CopyFrom(message.example_list_with_context.context)
            joined.MergeFrom(example)  # a feature of the example's own wins: map entries replace
            out.append(joined.SerializeToString())
        return out
    raise InvalidRequest("input: got no examples; expected example_list or example_list_with_context")


def classes_of(outputs: Mapping[str, np.ndarray]) -> list[list[tuple[str, float]]]:
    """Returns (label, score) of each class of each row: outputs `classes` and `scores`, or the only output as scores.

    Raises:
        InvalidRequest: the outputs are not classes.
    """
    scores = outputs.get("scores", next(iter(outputs.values())) if len(outputs) == 1 else None)
    labels = outputs.get("classes")
    if scores is None or scores.dtype.kind != "f" or not scores.ndim:
        raise InvalidRequest(
            f"the signature answers {', '.join(sorted(outputs))}; Classify expects `scores` (and `classes`), or one output"
        )
    rows = scores.reshape(scores.shape[0], -1) if scores.shape[0] else scores.reshape(0, 0)
    if labels is None:
        return [[(str(index), float(score)) for index, score in enumerate(row)] for row in rows]
    if labels.size != rows.size or labels.shape[:1] != scores.shape[:1]:
        raise InvalidRequest(
            f"classes {list(labels.shape)} and scores {list(scores.shape)} differ; Classify expects a class for each score"
        )
    names = labels.reshape(rows.shape)
    return [[(text_of("classes", name), float(score)) for name, score in zip(*pair)] for pair in zip(names, rows)]


def regressions_of(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns one number a row: the output `outputs`, or the only one.

    Raises:
        InvalidRequest: there is no such output, or it has several numbers a row.
    """
    value = outputs.get("outputs", next(iter(outputs.values())) if len(outputs) == 1 else None)
    if value is None or value.dtype.kind != "f" or value.shape[:1] != (value.size,):
        raise InvalidRequest(
            f"the signature answers {', '.join(sorted(outputs))}; Regress expects one floating-point number a row"
        )
    return value.reshape(-1)
