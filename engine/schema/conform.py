"""Batches made to fit a schema exactly, or refused with the column and row that do not."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import ConfigError, DataError, column_not_found, listed
from engine.schema.kinds import is_text_or_bytes
from engine.schema.lists import is_list
from engine.schema.metadata_keys import TIMES, read_note
from engine.schema.plain_layouts import plain_array
from engine.schema.tensorflow_view import default_of

__all__ = ["as_numbers", "cast_array", "conform", "first_without_fit", "innermost", "refuse_overflow", "select_fields"]


def select_fields(schema: pa.Schema, columns: tuple[str, ...] | list[str] | None) -> pa.Schema:
    """Returns the schema of the named columns, in the order named.

    Raises:
        ConfigError: a name that the schema does not have.
    """
    names = schema.names
    if columns is None or list(columns) == names:
        return schema
    missing = sorted(set(columns).difference(names))
    if missing:
        raise ConfigError(column_not_found(missing, names))
    return pa.schema([schema.field(name) for name in columns], metadata=schema.metadata)


def conform(batch: pa.RecordBatch, schema: pa.Schema, path: str | None = None, first_row: int = 0) -> pa.RecordBatch:
    """Returns the batch with exactly the schema's columns and types; no copy where they are so already.

    Nulls in a column that allows none become its default.

    Args:
        batch: columns by name, in any order; others are left out.
        schema: what to return.
        path: file of the batch, for errors.
        first_row: row of that file that the batch begins with, for errors.

    Raises:
        DataError: a column missing, a value that does not fit the type, or a null without a default.
    """
    if batch.schema.equals(schema, check_metadata=True) and not any(
        column.null_count or pa.types.is_nested(column.type)
        for column, field in zip(batch.columns, schema)
        if not field.nullable
    ):
        return batch
    columns = []
    names = batch.schema.names
    places = {name: index for index, name in enumerate(names)}  # linear in columns: there can be thousands
    for field in schema:
        if field.name not in places:
            raise DataError(f"has no column {field.name!r}; it has {listed(names)}", path=path)
        columns.append(_conform_column(batch.column(places[field.name]), field, path, first_row))
    return pa.RecordBatch.from_arrays(columns, schema=schema) if columns else batch.select([])


def _conform_column(column: pa.Array, field: pa.Field, path: str | None, first_row: int) -> pa.Array:
    if column.type != field.type:
        column = _cast(column, field, path, first_row)
    if not field.nullable and column.null_count:
        column = _fill(column, field, path, first_row)
    return column


_NO_FIT = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)


def _cast(column: pa.Array, field: pa.Field, path: str | None, first_row: int) -> pa.Array:
    times = read_note(field, TIMES)

    def cast(part: pa.Array) -> pa.Array:
        return cast_array(part if times is None else _as_times(part, pa.type_for_alias(times)), field.type)

    try:
        return cast(column)
    except _NO_FIT as error:
        raise DataError(
            f"column {field.name!r} holds {column.type}, which does not fit {field.type}: {error}",
            path=path,
            record=first_row + first_without_fit(column, cast),
        ) from error


def first_without_fit(column: pa.Array, cast: Callable[[pa.Array], pa.Array]) -> int:
    """Returns the first row that `cast` refuses, of a column that has one."""
    start, stop = 0, len(column)
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            cast(column.slice(start, middle - start))
            start = middle
        except _NO_FIT:
            stop = middle
    return start


def cast_array(column: pa.Array, target: pa.DataType) -> pa.Array:
    """Returns the array as the target type: floats may lose precision, but nothing may overflow, floats to infinity included.

    Raises:
        pa.ArrowInvalid: a value that does not fit.
    """
    column = plain_array(column)
    cast = _cast_unchecked(column, target)
    refuse_overflow(column, cast)
    return cast


def as_numbers(column: pa.Array) -> pa.Array | None:
    """Returns a column as numbers, times in their unit and decimals as float64, as features have them; None where it holds others."""
    types = pa.types
    if types.is_dictionary(column.type):
        return as_numbers(column.dictionary_decode())
    if types.is_boolean(column.type) or types.is_temporal(column.type):
        return cast_array(column, pa.int64())
    if types.is_decimal(column.type):
        return column.cast(pa.float64())
    return column if types.is_integer(column.type) or types.is_floating(column.type) else None


def refuse_overflow(before: pa.Array, after: pa.Array) -> None:
    """Checks that no finite number became infinite: Arrow and numpy make 1e300 an infinite float32 without a word.

    Raises:
        pa.ArrowInvalid: one did.
    """
    wide, narrow = _numbers(before), _numbers(after)
    types = pa.types
    # Of dictionaries their decoded values were checked; what a text says is what it is.
    number = types.is_floating(wide.type) or types.is_decimal(wide.type) or types.is_integer(wide.type)
    if not number or narrow.type not in (pa.float32(), pa.float16()) or wide.type == narrow.type:
        return
    if len(wide) != len(narrow) or not pc.any(pc.is_inf(narrow)).as_py():
        return
    was_finite = pc.is_finite(wide) if types.is_floating(wide.type) else pc.is_valid(wide)
    overflowed = pc.index(pc.and_(pc.is_inf(narrow), was_finite), True).as_py()
    if overflowed >= 0:
        raise pa.ArrowInvalid(f"{wide[overflowed].as_py()} is beyond the range of {narrow.type}")


def _numbers(array: pa.Array) -> pa.Array:
    while is_list(array.type):
        array = array.flatten()
    return array


def _cast_unchecked(column: pa.Array, target: pa.DataType) -> pa.Array:
    types = pa.types
    source = column.type
    if source == target:
        return column
    if types.is_dictionary(source):
        return cast_array(column.dictionary_decode(), target)
    if types.is_integer(innermost(target)) and _holds_times(source):
        if types.is_date64(innermost(source)):  # milliseconds, where Parquet's dates and date32 are days
            column = column.cast(_with_innermost(source, pa.date32()))
        return _cast_unchecked(column.cast(_counted(column.type)), target)
    if types.is_dictionary(target):
        return cast_array(column, target.value_type).dictionary_encode().cast(target)
    if types.is_list(target) and not (is_list(source)):
        values = cast_array(column, target.value_type)
        return _lists_of_one(values, target)
    if is_list(source) and not types.is_nested(target):
        return _only_values(column, target)
    if types.is_fixed_size_list(target) and not types.is_nested(source) and target.list_size == 1:
        return pa.FixedSizeListArray.from_arrays(cast_array(column, target.value_type), 1)
    if types.is_fixed_size_list(target) and not target.list_size and is_list(source) and _holds_none(column):
        return _lists_of_none(column, target)
    if types.is_binary(target) and not is_text_or_bytes(source):
        return column.cast(pa.string()).cast(target)
    if types.is_integer(source) and types.is_floating(target):
        # TensorFlow's float32 rounds; a double is what a column of integers became because other files have fractions,
        # and ids that it would make equal are refused.
        return column.cast(target, safe=types.is_float64(target))
    if types.is_decimal(source) and types.is_floating(target):
        return column.cast(pa.float64()).cast(target)
    return column.cast(target)


def _holds_none(lists: pa.Array) -> bool:
    """Whether no list holds a value; of a fixed-size list of 0 pyarrow writes [null] to Parquet."""
    values = lists.flatten()
    return bool(values.null_count == len(values))


def _lists_of_none(lists: pa.Array, target: pa.DataType) -> pa.Array:
    """Lists without a value as those of the fixed size 0, which Arrow does not cast to and Parquet does not keep."""
    valid = None if not lists.null_count else pc.is_valid(lists).buffers()[1]
    return pa.Array.from_buffers(target, len(lists), [valid], children=[pa.nulls(0, target.value_type)])


def _as_times(column: pa.Array, times: pa.DataType) -> pa.Array:
    """A column of times as those that all files of the data set fit; any other as it is."""
    column = plain_array(column)
    own = innermost(column.type)
    if not pa.types.is_temporal(own):
        return column
    if pa.types.is_timestamp(own) and pa.types.is_timestamp(times):
        times = pa.timestamp(times.unit, own.tz)
    return column.cast(_with_innermost(column.type, times))


def innermost(kind: pa.DataType) -> pa.DataType:
    """Returns the type of what the lists of a type hold, however deep; of no list, itself."""
    while any(is_list(kind) for is_list in _LISTS):
        kind = kind.value_type
    return kind


_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def _holds_times(kind: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(innermost(kind)))


def _counted(kind: pa.DataType) -> pa.DataType:
    """The type in which a column of times counts its unit; Arrow casts days and short times to 32 bits alone."""
    own = innermost(kind)
    return _with_innermost(kind, pa.int32() if pa.types.is_date32(own) or pa.types.is_time32(own) else pa.int64())


def _with_innermost(kind: pa.DataType, own: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_list(kind):
        return pa.list_(_with_innermost(kind.value_type, own))
    if types.is_large_list(kind):
        return pa.large_list(_with_innermost(kind.value_type, own))
    if types.is_fixed_size_list(kind):
        return pa.list_(_with_innermost(kind.value_type, own), kind.list_size)
    return own


def _lists_of_one(values: pa.Array, target: pa.DataType) -> pa.Array:
    counts = pc.cast(pc.is_valid(values), pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cast(pc.cumulative_sum(counts), pa.int32())])
    if values.null_count:
        null_offsets = pc.if_else(pa.concat_arrays([pc.is_valid(values), pa.array([True])]), offsets, None)
        return pa.ListArray.from_arrays(null_offsets, values.drop_null(), type=target)
    return pa.ListArray.from_arrays(offsets, values, type=target)


def _only_values(lists: pa.Array, target: pa.DataType) -> pa.Array:
    """The one value of each list, as TFX keeps a feature of one value; null for none."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    if (pc.max(lengths).as_py() or 0) > 1:
        raise pa.ArrowInvalid("a list of several values where the schema has one")
    values = cast_array(lists.flatten(), target)
    if len(values) == len(lists):
        return values
    places = pc.subtract(pc.cumulative_sum(pc.cast(lengths, pa.int64())), 1)
    return values.take(pc.if_else(pc.equal(lengths, 1), places, pa.scalar(None, pa.int64())))


def _fill(column: pa.Array, field: pa.Field, path: str | None, first_row: int) -> pa.Array:
    default = default_of(field)
    if default is None:
        row = first_row + int(pc.index(column.is_null(), True).as_py())
        raise DataError(
            f"column {field.name!r} is null here, and the schema allows none and gives no default; "
            "use VarLenFeature, or FixedLenFeature with default_value",
            path=path,
            record=row,
        )
    if pa.types.is_fixed_size_list(field.type):
        filler = pa.array([default], type=field.type)
        indices = pc.if_else(column.is_valid(), pa.array(range(len(column)), pa.int64()), len(column))
        return pa.concat_arrays([column, filler]).take(indices)
    return column.fill_null(pa.scalar(default[0], field.type))
