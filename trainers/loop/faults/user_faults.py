"""Errors of TensorFlow and Keras that are mistakes in data or model, in words about the data and the model."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from engine.core.errors import ConfigError, DataError, FullpassError
from trainers.data.labels import fraction
from trainers.data.whole_classes import FRACTION

__all__ = ["explained_faults"]

# The words of TensorFlow's kernel, and of the one that takes its place under op determinism.
_CLASSES = (
    re.compile(r"label value of (-?\d+) which is outside the valid range of \[0, (\d+)\)"),
    re.compile(r"indices\[[\d,]+\] = (-?\d+) is not in \[0, (\d+)\)(?=.*SparseSoftmaxCrossEntropy)", re.DOTALL),
)
_FRACTION = re.compile(re.escape(FRACTION) + r" <(.*?)> is[^-\d]*(-?\d[\d.]*(?:e[+-]?\d+)?)")
_LOSS_FILES = re.compile(r"(compile_utils|losses_utils|/losses/[a-z_]+)\.py$")
_METRIC_FILES = re.compile(r"/metrics/[a-z_]+\.py$")
_REMEDY = "give the model outputs of the label's shape (or names), or another loss"
_REMEDY_OF_METRIC = "give it labels of the type and shape that it takes, or leave it out of compile()"


@contextlib.contextmanager
def explained_faults(
    labels: Sequence[str], text_labels: Sequence[str], place: Callable[[str, float], str] = lambda name, value: ""
) -> Iterator[None]:
    """Turns an error of building or stepping into one that names the label, where it comes from the labels.

    Args:
        labels: names of the labels.
        text_labels: those among them that hold text.
        place: name of a label and a value that it must not have, to a text about the record that has it.

    Raises:
        ConfigError: labels that the loss cannot take.
        DataError: a label that is not one of the model's classes.
    """
    try:
        yield
    except FullpassError:
        raise
    except Exception as error:
        found = next(filter(None, (pattern.search(str(error)) for pattern in _CLASSES)), None)
        if found and labels:
            value, classes = int(found.group(1)), int(found.group(2))
            raise DataError(
                f"label {labels[0]!r} is {value}{place(labels[0], value)}, and the model's output has {classes} classes: "
                f"labels from 0 to {classes - 1} are allowed"
            ) from error
        cut = _FRACTION.search(str(error))
        if cut:
            number = float(cut.group(2))
            raise fraction(cut.group(1), number, place(cut.group(1), number)) from error
        if text_labels and (_in_loss(error) or "string" in str(error).lower()):
            raise ConfigError(
                f"label {text_labels[0]!r} holds text, and the loss takes numbers: map it to numbers in preprocessing_fn "
                "(tft.compute_and_apply_vocabulary), or choose another label"
            ) from error
        if isinstance(error, ValueError | TypeError | KeyError | tf.errors.InvalidArgumentError) and _in_loss(error):
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            of_metric = _passes(error, _METRIC_FILES)
            raise ConfigError(
                f"{'a metric' if of_metric else 'the loss'} cannot be computed from label {', '.join(map(repr, labels)) or 'none'} and "
                f"the model's outputs: {first}; {_REMEDY_OF_METRIC if of_metric else _REMEDY}"
            ) from error
        raise


def _in_loss(error: BaseException) -> bool:
    return _passes(error, _LOSS_FILES) or _passes(error, _METRIC_FILES)


def _passes(error: BaseException, files: re.Pattern[str]) -> bool:
    return any(files.search(frame.filename) for frame in traceback.extract_tb(error.__traceback__))
