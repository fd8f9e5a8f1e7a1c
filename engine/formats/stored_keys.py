"""Columns that files hold themselves and the names of their directories say as well: both must say the same.

Which of two values is meant nobody here knows: pyarrow, Spark and DuckDB take the directory's without a word, polars the file's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import DataError
from engine.formats.partitions import NO_LEVELS, NO_VALUE, all_keys
from engine.schema.lists import is_list, valid_rows, value_lengths

__all__ = ["refuse_contradicted", "refuse_half_stored"]

_SHOWN = 60
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
_ZONE = re.compile(r":.*(Z|[+-]\d\d(:?\d\d)?)$")
_UNITS_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def refuse_half_stored(
    paths: Sequence[str],
    names: Sequence[str],
    column_names: Callable[[str], Sequence[str]] | None,
    levels: Mapping[str, int] = NO_LEVELS,
) -> None:
    """Checks that a column is either in the files or in the names of their directories: in the other it would be missing.

    Args:
        paths: files.
        names: columns that some file has.
        column_names: of a file; None where files do not say them.
        levels: of files, see `engine.formats.partitions.partition_keys`.

    Raises:
        DataError: a file without the column that its directory names and that others hold.
    """
    stored = set(names)
    for path in paths if column_names is not None else ():
        shared = stored.intersection(all_keys(path, levels.get(path)))
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
        try:
            value = repr(batch.column(place)[row].as_py())
        except (OverflowError, ValueError):
            value = f"a {batch.column(place).type} that no calendar of Python's has"
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
        return ~valid_rows(column)
    if _says_nothing(column.type, text):
        return np.ones(len(column), bool)
    try:
        same_value = _equal(column, text)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        return np.zeros(len(column), bool)  # a text that is no value of the column's type is not the same
    return np.asarray(pc.fill_null(same_value, False).to_numpy(zero_copy_only=False))


def _says_nothing(kind: pa.DataType, text: str) -> bool:
    """Whether the text of a directory cannot be compared with values of a type.

    Nobody spells durations in one way, and an instant that is written without its zone (Spark) is in that of who wrote it.
    """
    return pa.types.is_duration(kind) or (
        pa.types.is_timestamp(kind) and kind.tz is not None and not _ZONE.search(text)
    )


def _equal(column: pa.Array, text: str) -> pa.Array:
    """Which values are what a text says, bool [rows], null where they are missing.

    Raises:
        ValueError, ArrowInvalid, ArrowNotImplementedError: the text is no value of the column's type.
    """
    kind = column.type
    if pa.types.is_time(kind):
        return _equal_times(column, text)
    if pa.types.is_float16(kind):  # not every pyarrow casts texts to it, or compares it
        with np.errstate(over="ignore"):
            value = pa.scalar(float(np.float16(float(text))), pa.float32())
        column = column.cast(pa.float32())
    else:
        if pa.types.is_integer(kind):
            text = re.sub(r"\.0*$", "", text)  # 2024.0, as it is where a column with missing values was floats
        elif pa.types.is_timestamp(kind):  # polars writes .000000, which milliseconds do not take
            text = re.sub(r"\.(\d*?)0*(?!\d)", lambda found: "." + found[1] if found[1] else "", text, count=1)
        value = pa.scalar(text, pa.string()).cast(kind)
    if pa.types.is_floating(column.type) and value.as_py() != value.as_py():
        return pc.is_nan(column)
    return pc.equal(column, value)


def _equal_times(column: pa.Array, text: str) -> pa.Array:
    """Which times of day are what a text says, to the digit that it says: polars leaves fractions of a second out."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time of day")
    hours, minutes, seconds, fraction = found.groups()
    digits = len(fraction or "")
    said = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 10**digits + int(fraction or 0)
    units = _UNITS_A_SECOND[column.type.unit]
    whole = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64()).cast(pa.int64())
    if units >= 10**digits:
        return pc.equal(pc.divide(whole, units // 10**digits), said)
    return pc.equal(pc.multiply(whole, 10**digits // units), said)
