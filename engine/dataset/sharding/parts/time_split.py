"""Which part a record belongs to by when it was: before a date, or from it on."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import ConfigError, DataError
from engine.dataset.sharding.parts.part_options import PartOptions
from engine.formats.csv.bad_cell import shown
from engine.schema.kinds import is_bytes, is_text

__all__ = ["TimeCuts"]

_TIMES = pa.timestamp("us", "UTC")
_EXACT = decimal.Context(prec=400)  # digits; a double has 309 before the point at most


class TimeCuts:
    """Where the parts of a data set that is split by time begin.

    Text is read as ISO 8601; a time without a zone is in UTC, as is a cut.

    Args:
        options: with `split_time`, `eval_from` and perhaps `test_from`.

    Raises:
        ConfigError: a cut that is neither a date or time nor a number, or cuts in the wrong order.
    """

    def __init__(self, options: PartOptions) -> None:
        self._column = options.split_time
        given = [value for value in (options.eval_from, options.test_from) if value is not None]
        self._numbers = [number for value in given if (number := _number(value)) is not None]
        self._times = [time for value in given if (time := _time(value)) is not None]
        for value in given:
            if _number(value) is None and _time(value) is None:
                raise ConfigError(
                    f"eval_from or test_from is {value!r}; it takes a date (2013-11-01), a time (2013-11-01T06:00:00) or a number"
                )
        for cuts in (self._numbers, self._times):
            if len(cuts) == len(given) == 2 and not cuts[0] < cuts[1]:
                raise ConfigError(f"eval_from is {given[0]!r} and test_from {given[1]!r}; eval must begin before test")
        self._given = given

    def parts(self, column: pa.Array, path: str, first_record: int) -> np.ndarray:
        """Returns each record's part: uint8 [num_rows], 0 before the first cut.

        Raises:
            DataError: a record without a time, or text that is not a time.
            ConfigError: a column that is neither of times nor of numbers, or cuts of the other kind.
        """
        numeric = (
            pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
        )
        cuts = self._numbers if numeric else self._times
        if len(cuts) != len(self._given):
            raise ConfigError(
                f"column {self._column!r} is {column.type}, and eval_from or test_from is "
                f"{self._given[0]!r}, which is not a {'number' if numeric else 'date or time'}"
            )
        values = column if numeric else self._as_times(column, path, first_record)
        missing = pc.is_null(values, nan_is_null=True)
        if pc.any(missing).as_py():
            raise DataError(
                f"column {self._column!r} has no time here, by which the record would be put into a part; give it one, or leave "
                "such records out",
                path=path,
                record=first_record + pc.index(missing, True).as_py(),
            )
        bounds = cuts if numeric else [_micros(cut) for cut in cuts]
        values = values if numeric else values.cast(pa.int64())
        parts = np.zeros(len(values), np.uint8)
        for bound in bounds:
            parts += _from(values, bound)
        return parts

    def _as_times(self, column: pa.Array, path: str, first_record: int) -> pa.Array:
        types = pa.types
        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if types.is_date(column.type) or (types.is_timestamp(column.type) and column.type.tz is None):
            return column.cast(pa.timestamp("us"), safe=False).cast(_TIMES)
        if types.is_timestamp(column.type):
            return column.cast(_TIMES, safe=False)
        if is_bytes(column.type):
            column = column.cast(pa.string())
        if not is_text(column.type):
            raise ConfigError(
                f"column {self._column!r} is {column.type}; data are split by a column of times or numbers"
            )
        try:
            return _parsed(column)
        except pa.ArrowInvalid:
            for row, value in enumerate(column):
                try:
                    _parsed(pa.array([value.as_py()], pa.string()))
                except pa.ArrowInvalid:
                    raise DataError(
                        f"column {self._column!r} holds {shown(value.as_py())} here, which is not a date or time as in "
                        "2013-11-01 or 2013-11-01T06:00:00",
                        path=path,
                        record=first_record + row,
                    ) from None
            raise


def _from(values: pa.Array, cut: float) -> np.ndarray:
    """Which numbers are the cut or more: bool [n], exactly, also of those that a double would round."""
    if pa.types.is_decimal(values.type):
        places = pa.decimal256(76, values.type.scale)
        least = decimal.Decimal(repr(cut)).quantize(
            decimal.Decimal(1).scaleb(-places.scale), decimal.ROUND_CEILING, _EXACT
        )
        if least.adjusted() >= places.precision - places.scale:  # beyond all that such a column holds
            return np.full(len(values), cut < 0)
        later = pc.greater_equal(values.cast(places), pa.scalar(least, places))
        return np.asarray(later.to_numpy(zero_copy_only=False), np.bool_)
    numbers = values.to_numpy(zero_copy_only=False)
    return np.asarray(numbers >= (math.ceil(cut) if pa.types.is_integer(values.type) else cut), np.bool_)


def _parsed(column: pa.Array) -> pa.Array:
    """Times of texts with or without a zone; Arrow wants to know which before."""
    zoned = pc.match_substring_regex(column, r"(Z|[+-]\d\d(:?\d\d)?)$")
    zoned = pc.and_(zoned, pc.match_substring(column, ":"))
    found = pc.fill_null(zoned, False)
    plain = pc.if_else(found, None, column).cast(pa.timestamp("us")).cast(_TIMES)
    return pc.coalesce(plain, pc.if_else(found, column, None).cast(_TIMES))


def _micros(cut: Any) -> int:
    return int(pa.scalar(cut, _TIMES).value)


def _number(value: Any) -> float | int | None:
    """A number, whole where it is one: times in nanoseconds are beyond what a double holds exactly."""
    if isinstance(value, bool):
        return None
    for kind in (int, float):
        try:
            found = kind(value) if isinstance(value, str) else value + 0
            return found if math.isfinite(found) else None
        except (TypeError, ValueError):
            continue
    return None


def _time(value: Any) -> Any:
    """A datetime in UTC, or None where it is not a time."""
    try:
        array = pa.array([value])
        if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
            return None
        if is_text(array.type):
            return _parsed(array)[0].as_py()
        return array.cast(pa.timestamp("us")).cast(_TIMES)[0].as_py() if array.type != _TIMES else array[0].as_py()
    except (pa.ArrowException, TypeError):
        return None
