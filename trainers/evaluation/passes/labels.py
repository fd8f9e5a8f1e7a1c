"""Labels of rows as numbers: computed by the model's graph, read from a column, or looked up in the model's vocabulary."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.core.text_encoding import as_text
from engine.schema.conform import as_numbers
from engine.schema.kinds import is_text_or_bytes, value_kind
from engine.schema.lists import is_list, value_lengths

__all__ = ["labels_of", "numbers_of", "read_vocabulary"]


def labels_of(
    batch: pa.RecordBatch,
    model: Any,
    label: str,
    vocabulary: Mapping[str, int] | None,
    classes: int | None,
    several: bool | None = None,
) -> np.ndarray:
    """Returns float64 labels [n], or [n, k] where a row has several labels.

    Args:
        batch: raw rows.
        model: computes the label where its graph has a feature of that name.
        label: that feature, or a column.
        vocabulary: name of a class to its number, for labels that are text.
        classes: the model's number of answers a row; None where it gives one.
        several: whether a row may have several labels; None where these rows decide.

    Raises:
        ConfigError: a label that no model could be measured by.
        DataError: a row without a label, or with one that the vocabulary lacks.
    """
    if model.computes(label):
        values = model.transformed(batch, [label])[label].reshape(batch.num_rows, -1)
        if values.shape[1] != 1 and values.shape[1] != classes:
            raise ConfigError(
                f"label {label!r} has {values.shape[1]} values a row; evaluation takes one, or one for each of the model's answers"
            )
        if values.dtype == object:
            found = _looked_up(values.reshape(-1).tolist(), label, vocabulary)
            return found if values.shape[1] == 1 else _several(found, np.full(len(values), values.shape[1]), classes)
        values = values.astype(np.float64)
        columns: np.ndarray = values[:, 0] if values.shape[1] == 1 else values
        return columns
    column = batch.column(label)
    if not pa.types.is_dictionary(column.type) and is_list(column.type):
        return _lists(column, label, vocabulary, classes, several)
    if is_text_or_bytes(value_kind(column.type)):
        _refuse_missing(column, label, "label")
        return _looked_up(column.to_pylist(), label, vocabulary)
    return numbers_of(column, label, "label").astype(np.float64)


def numbers_of(column: pa.Array, name: str, role: str) -> np.ndarray:
    """Returns the numbers of a column without missing values.

    Args:
        column: of numbers, booleans, decimals or times, or a dictionary of them.
        name: of the column.
        role: what it is for, in messages.

    Raises:
        ConfigError: another type.
        DataError: a missing value; its record counts from the batch's first row.
    """
    _refuse_missing(column, name, role)
    numbers = as_numbers(column)
    if numbers is None:
        raise ConfigError(f"{role} {name!r} is {column.type}; evaluation takes a column of numbers")
    _refuse_missing(numbers, name, role)  # a dictionary's own values may be missing
    values: np.ndarray = numbers.to_numpy(zero_copy_only=False)
    return values


def read_vocabulary(model_path: str | os.PathLike[str], name: str | None, classes: int) -> list[str]:
    """Returns the names of the classes in the order of the model's answers.

    Args:
        model_path: the SavedModel.
        name: of a file in its assets, or a path; None for the only one with a line for each class.
        classes: number of classes.

    Raises:
        ConfigError: no such file, several that fit, or another number of lines than classes.
    """
    folder = Path(model_path) / "assets"
    files = sorted(path for path in folder.glob("*") if path.is_file())
    if name is not None:
        path = folder / name if (folder / name).is_file() else Path(name)
        if not path.is_file():
            raise ConfigError(f"label_vocabulary {name!r} not found; the model's assets are {_listed(files)}")
        lines = _lines(path)
        if len(lines) != classes:
            raise ConfigError(f"label_vocabulary {name!r} has {len(lines)} lines, the model has {classes} classes")
        return lines
    fitting = [path for path in files if len(_lines(path)) == classes]
    if len(fitting) != 1:
        raise ConfigError(
            f"labels are text, and {len(fitting) or 'none'} of the model's assets ({_listed(files)}) "
            f"{'have' if len(fitting) > 1 else 'has'} a line for each of {classes} classes; name one by label_vocabulary"
        )
    return _lines(fitting[0])


def _lines(path: Path) -> list[str]:
    # Of the bytes, and as TensorFlow's tables read them: a line ends at "\n" or "\r\n" alone; others may stand in a name.
    lines = path.read_bytes().split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [as_text(line.removesuffix(b"\r")) for line in lines]


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(path.name for path in files) or "none"


def _refuse_missing(column: pa.Array, name: str, role: str) -> None:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{role} {name!r} has no value; leave such rows out of the evaluation", record=row)


def _looked_up(values: Sequence[Any], label: str, codes: Mapping[str, int] | None) -> np.ndarray:
    if codes is None:
        raise ConfigError(
            f"label {label!r} is text; give label_vocabulary, a file of the classes' names in the model's assets, a line each"
        )
    found: np.ndarray = np.empty(len(values))
    for row, value in enumerate(values):
        text = as_text(value) if isinstance(value, (bytes, str)) else value
        code = codes.get(text)
        if code is None:
            raise DataError(
                f"label {label!r} is {text!r}, which the vocabulary of {len(codes)} classes lacks", record=row
            )
        found[row] = code
    return found


def _lists(
    column: pa.Array, label: str, vocabulary: Mapping[str, int] | None, classes: int | None, several: bool | None
) -> np.ndarray:
    """One number for each class in a row; or names, any number of them; or one value."""
    lengths = value_lengths(column)
    text = is_text_or_bytes(value_kind(column.type.value_type))
    leaves = column.flatten()
    if several is False and (lengths > 1).any():
        raise DataError(
            f"label {label!r} has several values, the first rows had one; give task = 'multilabel'",
            record=int(np.flatnonzero(lengths > 1)[0]),
        )
    if not several and (lengths == 1).all() and classes != 1:
        flat = _looked_up(leaves.to_pylist(), label, vocabulary) if text else numbers_of(leaves, label, "label")
        return flat.astype(np.float64)
    if text:
        return _several(_looked_up(leaves.to_pylist(), label, vocabulary), lengths, classes)
    wrong = np.flatnonzero(lengths != (classes or 1))
    if len(wrong):
        raise DataError(
            f"label {label!r} has {lengths[wrong[0]]} values, the model gives {classes or 1} answers a row",
            record=int(wrong[0]),
        )
    return numbers_of(leaves, label, "label").astype(np.float64).reshape(len(column), -1)


def _several(codes: np.ndarray, lengths: np.ndarray, classes: int | None) -> np.ndarray:
    found = np.zeros((len(lengths), classes or 1))
    found[np.repeat(np.arange(len(lengths)), lengths), codes.astype(np.int64)] = 1.0
    return found
