"""Labels that have no value, or one that is no class, found before the training rather than by the loss or never."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import ConfigError, DataError, listed
from engine.schema.lists import is_list

if TYPE_CHECKING:
    from engine.feed.protocols import TrainingData

__all__ = ["check_classes", "check_labels", "fraction", "labels_of_classes"]

_MOST_RECORDS = 1 << 20


def check_labels(data: TrainingData, spec: Mapping[str, Any], labels: Sequence[str]) -> None:
    """Raises where a scalar label has no value in some record; reads the labels where the schema says that it may be so.

    Args:
        data: of the training; what has no `read_batches` lies in memory, where nothing is missing.
        spec: its feature spec: a column with nulls is a VarLenFeature.
        labels: names.

    Raises:
        ConfigError: the data has no such label.
        DataError: names the label, the number of the record, and what to do.
    """
    read = getattr(data, "read_batches", None)
    for name in labels:
        if name not in spec:
            raise ConfigError(f"label {name!r} not found; the data has {listed(sorted(spec))}")
        if name not in data.schema.names:
            continue  # made of several columns
        kind = data.schema.field(name).type
        if read is None or type(spec[name]).__name__ != "VarLenFeature" or is_list(kind):
            continue
        first = 0
        for batch in read(columns=[name]):
            empty = np.flatnonzero(batch.column(0).is_null().to_numpy(zero_copy_only=False))
            if len(empty):
                raise DataError(
                    f"label {name!r} has no value in record {first + int(empty[0]):,} (counted over all files, from 0); leave "
                    "such rows out, or fill them in preprocessing_fn"
                )
            first += batch.num_rows


def labels_of_classes(loss: Any, labels: Sequence[str]) -> list[str]:
    """Returns the labels that are numbers of classes for a loss as `compile` took it: one, a list, or output name to one."""
    if isinstance(loss, list | tuple) and len(loss) == len(labels):
        loss = dict(zip(labels, loss, strict=True))
    by_label = loss if isinstance(loss, Mapping) else dict.fromkeys(labels, loss)
    return [name for name in labels if _takes_classes(by_label.get(name))]


def _takes_classes(loss: Any) -> bool:
    names = loss, getattr(loss, "__name__", None), *(kind.__name__ for kind in type(loss).__mro__)
    return any(
        isinstance(name, str) and name.lower().replace("_", "") == "sparsecategoricalcrossentropy" for name in names
    )


def check_classes(data: TrainingData, labels: Sequence[str]) -> None:
    """Raises where a label of floats is a fraction: the loss would leave out what follows the point.

    The first million records are read, the others when a step is made of them (`trainers.data.whole_classes`).

    Args:
        data: of the training.
        labels: that are numbers of classes.

    Raises:
        DataError: names the label, its value and the number of the record.
    """
    for name in labels:
        first = 0
        for values, rows, count in _values(data, name):
            wrong = np.flatnonzero(np.isfinite(values) & (values != np.floor(values)))
            if len(wrong):
                raise fraction(
                    name,
                    values[wrong[0]],
                    f" in record {first + int(rows[wrong[0]]):,} (counted over all files, from 0)",
                )
            first += count
            if first >= _MOST_RECORDS:
                break


def fraction(name: str, value: float, place: str) -> DataError:
    """Returns the error of a label that is the number of a class and a fraction; `place` is a text about the record that has it."""
    return DataError(
        f"label {name!r} is {value:g}{place}, and the loss takes the number of a class: give whole numbers (bucketize them in "
        "preprocessing_fn), or use a loss of numbers, such as mean squared error"
    )


def _values(data: TrainingData, name: str) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Gives (values, the row of each, rows) of a column of floats, batch by batch; none of data that are neither files nor arrays."""
    read = getattr(data, "read_batches", None)
    if name not in data.schema.names:
        return
    if read is None:
        array = np.asarray(getattr(data, "columns", {}).get(name, ()))
        if array.dtype.kind == "f" and len(array):
            yield array.reshape(-1), np.repeat(np.arange(len(array)), array[0].size), len(array)
        return
    kind = data.schema.field(name).type
    while is_list(kind):
        kind = kind.value_type
    if not pa.types.is_floating(kind):
        return
    for batch in read(columns=[name]):
        column, rows = batch.column(0), np.arange(batch.num_rows)
        while is_list(column.type):
            rows = rows[pc.list_parent_indices(column).to_numpy(zero_copy_only=False)]
            column = pc.list_flatten(column)
        yield column.to_numpy(zero_copy_only=False).astype(np.float64), rows, batch.num_rows
