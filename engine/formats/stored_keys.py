"""Columns that files hold themselves and the names of their directories say as well: both must say the same.

Which of two values is meant nobody here knows: pyarrow, Spark and DuckDB take the directory's without a word, polars the file's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import DataError
from engine.formats.partitions import NO_VALUE, partition_keys
from engine.schema.lists import is_list, value_lengths

__all__ = ["refuse_contradicted", "refuse_half_stored"]

_SHOWN = 60


def refuse_half_stored(
    paths: Sequence[str], names: Sequence[str], column_names: Callable[[str], Sequence[str]] | None
) -> None:
    """Checks that a column is either in the files or in the names of their directories: in the other it would be missing.

    Args:
        paths: files.
        names: columns that some file has.
        column_names: of a file; None where files do not say them.

    Raises:
        DataError: a file without the column that its directory names and that others hold.
    """
    stored = set(names)
    for path in paths if column_names is not None else ():
        shared = stored.intersection(partition_keys(path))
        lacking = sorted(shared.difference(column_names(path))) if shared and column_names is not None else []
        if lacking:
            raise DataError(
                f"has column {lacking[0]!r} in the name of its directory alone, and other files hold it themselves: write it into "
                "all of them, or into none",
                path=path,
            )


def refuse_contradicted(
    batch: pa.RecordBatch, keys: Mapping[str, str | None], path: str, first_record: int | None
) -> None:
    """Checks that the columns which a file holds itself are what the names of its directories say.

    Args:
        batch: rows of the file, in the types of the data set.
        keys: `partition_keys` of its path.
        path: of the file.
        first_record: of the file, that the batch begins with; None where that is not known.

    Raises:
        DataError: a row of another value, with both.
    """
    for name, text in keys.items():
        place = batch.schema.get_field_index(name)
        if place < 0:
            continue
        same = _same(batch.column(place), text)
        if same.all():
            continue
        row = int(np.argmin(same))
        value = repr(batch.column(place)[row].as_py())
        raise DataError(
            f"column {name!r} is {value if len(value) <= _SHOWN else value[:_SHOWN] + '...'} in the file, and its directory says "
            f"{name}={NO_VALUE if text is None else text}: rename the directory, or write the file anew without the column",
            path=path,
            record=None if first_record is None else first_record + row,
        )


def _same(column: pa.Array, text: str | None) -> np.ndarray:
    """Which rows are the value of a directory, bool [rows]. A feature of one value may be a list of it."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_list(column.type):
        lengths = value_lengths(column)
        if text is None:
            return np.asarray(lengths == 0)
        same = np.zeros(len(column), bool)
        same[lengths == 1] = _same(column.filter(pa.array(lengths == 1)).flatten(), text)
        return same
    if text is None:
        return np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    try:
        value = pa.scalar(text, pa.string()).cast(column.type)
        same_value = pc.equal(column, value)
        if pa.types.is_floating(column.type) and value.as_py() != value.as_py():
            same_value = pc.is_nan(column)
    except (
        pa.ArrowInvalid,
        pa.ArrowNotImplementedError,
    ):  # a text that is no value of the column's type is not the same
        return np.zeros(len(column), bool)
    return np.asarray(pc.fill_null(same_value, False).to_numpy(zero_copy_only=False))
