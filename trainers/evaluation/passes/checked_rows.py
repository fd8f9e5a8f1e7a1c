"""What an evaluation takes from a batch: labels, predictions and queries, held to what a metric can count."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from trainers.evaluation.passes.labels import labels_of
from trainers.evaluation.passes.plan import Head
from trainers.evaluation.segments.segments import encoded_values, one_value

__all__ = [
    "check_rows",
    "from_zero",
    "predictions_of",
    "query_numbers",
    "refuse_mixed",
    "refuse_rows",
    "truth_of",
]


def predictions_of(model: Any, head: Any, answers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns a model's predictions of an output: [n], or [n, k].

    Args:
        model: whose answers these are.
        head: has `output`.
        answers: output to values [n, ...].

    Raises:
        ConfigError: answers that are not one prediction a row.
    """
    values = answers[head.output if head.output in answers else model.output]
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim > 2 or values.dtype.kind not in "fiub":
        raise ConfigError(
            f"output {head.output or model.output!r} has shape {list(values.shape)} of {values.dtype}; evaluation takes a "
            "number, or several, a row"
        )
    return values


def truth_of(batch: pa.RecordBatch, model: Any, head: Any, predictions: np.ndarray) -> np.ndarray:
    """Returns the labels of an output: [n], or [n, k].

    Args:
        batch: raw rows.
        model: computes the label where its graph has it.
        head: has `label`, `codes` and `task` (None where these rows decide).
        predictions: of the model; they say how many classes there are.
    """
    classes = predictions.shape[1] if predictions.ndim == 2 else None
    # Of several classes, one number for each says the class, too.
    several = None if head.task in (None, "multiclass") else head.task == "multilabel"
    found = labels_of(batch, model, head.label, head.codes, classes, several)
    if head.task != "multiclass" or found.ndim == 1:
        return found
    refuse_rows(
        ((found != 0).sum(axis=1) != 1) | ((found == 1).sum(axis=1) != 1),
        f"label {head.label!r} has not exactly one class; give task = 'multilabel' where a row may have none or several",
    )
    classes_of_rows: np.ndarray = found.argmax(axis=1).astype(np.float64)
    return classes_of_rows


def refuse_rows(wrong: Any, message: str) -> None:
    """Checks that no row is marked as wrong.

    Raises:
        DataError: one is; it names the first.
    """
    if wrong.any():
        raise DataError(message, record=int(np.flatnonzero(wrong)[0]))


def from_zero(head: Head, labels: np.ndarray, seen: set[str]) -> np.ndarray:
    """Returns labels with 0 for -1 where the task is of two classes: hinge losses have -1 and 1.

    Args:
        head: the output.
        labels: as `truth_of` returns them.
        seen: what stood for negatives in rows before, which is added to.

    Raises:
        DataError: some rows have the one and some the other.
    """
    if head.task != "binary":
        return labels
    minus, zero = labels == -1, (labels >= 0) & (labels < 1)
    rows = [int(those.argmax()) for name, those in (("-1", minus), ("0", zero)) if name not in seen and those.any()]
    seen.update(["-1"] if minus.any() else [], ["0"] if zero.any() else [])
    refuse_mixed(seen, max(rows, default=None))
    return np.where(minus, 0.0, labels) if minus.any() else labels


def refuse_mixed(seen: set[str], record: int | None = None) -> None:
    """Checks that labels are 0 and 1, or -1 and 1, and not both.

    Args:
        seen: what stood for negatives.
        record: the first row that has another than those before it.

    Raises:
        DataError: they are.
    """
    if len(seen) > 1:
        raise DataError(
            "labels are -1 in some rows and 0, or between 0 and 1, in others; make them 0 and 1, or -1 and 1, in all, or give "
            "task = 'regression' where they are numbers",
            record=record,
        )


def check_rows(head: Head, labels: np.ndarray, predictions: np.ndarray) -> None:
    """Checks labels and predictions: what is out of range would be counted in a wrong place.

    Raises:
        DataError: a label or an answer that the task does not take.
    """
    answers = predictions.reshape(len(predictions), -1)
    refuse_rows(~np.isfinite(answers).all(axis=1), "the model's answer is not a number")
    truth = labels.reshape(len(labels), -1)
    refuse_rows(~np.isfinite(truth).all(axis=1), f"label {head.label!r} is not a number")
    if head.task in ("binary", "multilabel"):
        outside = ((answers < 0) | (answers > 1)).any(axis=1)
        refuse_rows(
            outside,
            "the model's answer is outside of [0, 1]; give task = 'regression' where it is no probability, and where it is a logit "
            "export the model with a sigmoid",
        )
        refuse_rows(((truth < 0) | (truth > 1)).any(axis=1), f"label {head.label!r} is outside of [0, 1]")
    if head.task == "multiclass":
        wrong = (labels < 0) | (labels >= head.classes) | (labels != np.floor(labels))
        refuse_rows(wrong, f"label {head.label!r} is none of the classes 0 to {head.classes - 1}")
        refuse_rows((answers < 0).any(axis=1), "the model's answer is below 0; evaluation takes a probability a class")
        refuse_rows(
            ~answers.any(axis=1), "the model's answer is 0 for every class; evaluation takes a probability a class"
        )
    if any(name.startswith("ndcg") for name in head.names):
        refuse_rows((truth < 0).any(axis=1), f"label {head.label!r} is below 0; NDCG takes it for what a row is worth")


def query_numbers(batch: pa.RecordBatch, name: str | None) -> np.ndarray | None:
    """Returns a number for each value, the same wherever it is computed.

    Raises:
        DataError: a row without a value.
    """
    if name is None:
        return np.zeros(batch.num_rows, np.int64)
    column = one_value(batch.column(name), name)
    if pa.types.is_dictionary(column.type):  # in which Arrow sees no NaN
        column = column.dictionary_decode()
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    nothing = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    refuse_rows(nothing, f"query {name!r} has no value; leave such rows out of the evaluation")
    if pa.types.is_integer(column.type):
        numbers: np.ndarray = column.to_numpy(zero_copy_only=False).astype(np.int64)
        return numbers
    encoded = encoded_values(column, name)
    texts = [v if isinstance(v, bytes) else str(v).encode() for v in encoded.dictionary.to_pylist()]
    digests = [int.from_bytes(hashlib.blake2b(t, digest_size=8).digest(), "little", signed=True) for t in texts]
    hashes: np.ndarray = np.array(digests, np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
    return hashes
