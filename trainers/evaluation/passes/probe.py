"""What the first rows say of an evaluation: its task, its classes, which metrics it has."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.schema.kinds import is_text_or_bytes, value_kind
from engine.schema.lists import is_list
from trainers.evaluation.metrics import TASKS, check_classes, default_metrics, own_results
from trainers.evaluation.passes.checked_rows import predictions_of, truth_of
from trainers.evaluation.passes.labels import read_vocabulary
from trainers.evaluation.passes.plan import Head, class_codes

__all__ = ["find_heads"]


@dataclasses.dataclass
class _Unknown:
    output: str | None
    label: str
    vocabulary: tuple[str, ...] | None = None
    task: str | None = None

    @functools.cached_property
    def codes(self) -> Mapping[str, int] | None:
        """Name of a class to its number."""
        return class_codes(self.vocabulary)


def find_heads(
    batch: pa.RecordBatch,
    answers: Mapping[str, Mapping[str, np.ndarray]],
    models: Mapping[str, Any],
    labels: Mapping[str | None, str],
    metrics: Sequence[str] | Mapping[str, Sequence[str]] | None,
    task: str | None,
    label_vocabulary: str | None,
) -> tuple[Head, ...]:
    """Returns the outputs that are evaluated, with their tasks and metrics.

    Args:
        batch: the first rows.
        answers: of each model to them, by output.
        models: "model", and "baseline" where there is one.
        labels: output (None for the only one) to label.
        metrics: names, for every output or by output; None for those that fit.
        task: one of `TASKS`, or None where the rows decide: labels of several values a row are "multilabel", several answers
            are "multiclass", an answer between 0 and 1 and labels there, or of -1 and 1, are "binary", others "regression", but
            for two other whole numbers beside such an answer, which are refused where no metrics are named.
        label_vocabulary: file with the names of classes, for labels that are text.

    Raises:
        ConfigError: a task or metric that does not fit.
        DataError: no rows.
    """
    if batch.num_rows == 0:
        raise DataError("evaluation has no rows; give data with at least one")
    if task is not None and task not in TASKS:
        raise ConfigError(f"task {task!r} is none of {', '.join(TASKS)}")
    heads = []
    for output, label in labels.items():
        head = _Unknown(output, label, task=task)
        shape = answers["model"][output or models["model"].output].shape
        width = shape[1] if len(shape) == 2 else 1
        if label_vocabulary is not None or (width > 1 and _is_text(batch, models["model"], label)):
            path = models["model"].path
            head.vocabulary = tuple(read_vocabulary(path, label_vocabulary, max(width, 2)))
        values = predictions_of(models["model"], head, answers["model"])
        truth = truth_of(batch, models["model"], head, values)
        found = task or _task(truth, values)
        if (found in ("multiclass", "multilabel")) != (values.ndim == 2):
            raise ConfigError(
                f"task {found!r} does not fit output {output or models['model'].output!r} of {width} answers a row"
            )
        classes = values.shape[1] if values.ndim == 2 else 2
        for role, model in models.items():  # all are held to the same labels
            theirs = predictions_of(model, head, answers[role])
            if theirs.shape[1:] != values.shape[1:]:
                raise ConfigError(
                    f"{role} {model.path} gives {theirs.shape[1] if theirs.ndim == 2 else 1} answers a row, the model {width}; "
                    "give one of the same classes"
                )
        wanted = metrics.get(output or "", ()) if isinstance(metrics, Mapping) else metrics
        asked = wanted or default_metrics(found)
        check_classes(asked, found, classes)
        names, others = own_results(asked, found, classes)
        if found == "regression":
            _refuse_metrics_of_probabilities(others, truth, values)
            if task is None and not wanted:
                _refuse_two_labels(label, truth, values)
        heads.append(
            Head(
                output=output,
                label=label,
                prefix=f"{output}/" if len(labels) > 1 else "",
                task=found,
                classes=classes,
                names=tuple(names),
                others=tuple(others),
                vocabulary=head.vocabulary,
            )
        )
    return tuple(heads)


def _task(labels: Any, answers: Any) -> str:
    if answers.ndim > 1:
        return "multilabel" if labels.ndim > 1 else "multiclass"
    # Of -1 and 0 in one data set the pass names the row.
    two = (labels.min() >= 0 and labels.max() <= 1) or np.isin(labels, (-1, 0, 1)).all()
    return "binary" if _between_0_and_1(answers) and two else "regression"


def _between_0_and_1(answers: Any) -> bool:
    return bool(answers.min() >= 0 and answers.max() <= 1)


def _refuse_two_labels(label: str, labels: Any, answers: Any) -> None:
    """Errors of a probability against classes 1 and 2 would be numbers that mean nothing; which is positive nobody has said."""
    values = np.unique(labels)
    if len(values) == 2 and (values == np.rint(values)).all() and _between_0_and_1(answers):
        one, other = values
        raise ConfigError(
            f"label {label!r} is {one:g} or {other:g} in the first rows, and the answers are between 0 and 1; labels of two classes "
            "are 0 and 1, or -1 and 1, the greater one positive. Make them so, or give task = 'regression' where they are numbers"
        )


def _refuse_metrics_of_probabilities(others: Sequence[str], labels: Any, answers: Any) -> None:
    """TFMA would take a logit for the probability 0 or 1 that is nearer, and return a number that means nothing."""
    for metric in others:
        if own_results([metric], "binary")[0]:
            raise ConfigError(
                f"metrics: {metric!r} is of probabilities and labels between 0 and 1; in the first rows the answers are from "
                f"{answers.min():g} to {answers.max():g} and the labels from {labels.min():g} to {labels.max():g}. Where they "
                "are logits export the model with a sigmoid; where they are numbers name others, such as mse and mae"
            )


def _is_text(batch: pa.RecordBatch, model: Any, label: str) -> bool:
    """Whether labels are text with names of classes: none of a number, which would be an error of the data."""
    if model.computes(label):
        return bool(model.transformed(batch.slice(0, 1), [label])[label].dtype == object)
    kind = batch.schema.field(label).type
    return is_text_or_bytes(value_kind(kind.value_type if is_list(kind) else kind))
