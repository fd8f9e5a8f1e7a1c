"""Classify and Regress: which outputs are classes, scores, or one number a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainers.serving.server.doors.tensors import as_written, text_of
from trainers.serving.server.errors import InvalidRequest

__all__ = ["classes_of", "regressions_of", "scores_and_labels"]


def classes_of(outputs: Mapping[str, np.ndarray]) -> list[list[tuple[str, float]]]:
    """Returns (label, score) of each class of each row.

    Raises:
        InvalidRequest: the outputs are not classes.
    """
    scores, labels = scores_and_labels(outputs)
    rows = as_written(scores)
    if labels is None:
        return [[("", score) for score in row] for row in rows]
    names = labels.reshape(scores.shape)
    return [[(text_of("classes", name), score) for name, score in zip(*pair)] for pair in zip(names, rows)]


def scores_and_labels(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns scores [n, k], and a label for each or None: outputs `classes` and `scores`, one of the two, or the only output as scores.

    A label that there is none of is empty, a score 0, as to TensorFlow Serving.

    Raises:
        InvalidRequest: the outputs are not classes.
    """
    labels = outputs.get("classes")
    alone = next(iter(outputs.values())) if len(outputs) == 1 else None
    scores = _as_floats(outputs.get("scores", alone if labels is None else np.zeros(labels.shape, np.float32)))
    if scores is None or not scores.ndim:
        raise InvalidRequest(
            f"the signature answers {', '.join(sorted(outputs))}; Classify expects `scores` (and `classes`), or one output"
        )
    if labels is not None and (labels.size != scores.size or labels.shape[:1] != scores.shape[:1]):
        raise InvalidRequest(
            f"classes {list(labels.shape)} and scores {list(scores.shape)} differ; Classify expects a class for each score"
        )
    return scores.reshape(scores.shape[0], -1) if scores.shape[0] else scores.reshape(0, 0), labels


def regressions_of(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns one number a row: the output `outputs`, or the only one.

    Raises:
        InvalidRequest: there is no such output, or it has several numbers a row.
    """
    value = _as_floats(outputs.get("outputs", next(iter(outputs.values())) if len(outputs) == 1 else None))
    if value is None or value.shape[:1] != (value.size,):
        raise InvalidRequest(
            f"the signature answers {', '.join(sorted(outputs))}; Regress expects one floating-point number a row"
        )
    return value.reshape(-1)


def _as_floats(value: np.ndarray | None) -> np.ndarray | None:
    """The same as numbers that NumPy counts among the floating-point ones, as it does not bfloat16; None where it is of another kind."""
    if value is not None and value.dtype.name == "bfloat16":
        return value.astype(np.float32)
    return value if value is not None and value.dtype.kind == "f" else None
