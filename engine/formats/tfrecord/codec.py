"""Between Arrow schemas and the native codec: what it decodes to, how faults read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from engine import _native
from engine.core.errors import ConfigError, DataError
from engine.formats.partitions import without_marks
from engine.schema.conform import conform
from engine.schema.lists import row_with_null_inside
from engine.schema.sequence import is_sequence, sequence_key
from engine.schema.tensorflow_view import default_of, feature_type, tensorflow_schema

__all__ = [
    "decoded_schema",
    "fault",
    "imported",
    "list_keys",
    "native_schema",
    "record_schema",
    "refuse_nulls_in_lists",
    "result_schema",
]

_KINDS = {"int64": 0, "float32": 1, "bytes": 2}
_ADVICE = {
    "sample": "; the schema was inferred from a part of the data: give a feature_spec, or `fullpass inspect --write-manifest`",
}


def record_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema in the types of tf.Example and tf.SequenceExample.

    Raises:
        ConfigError: lists of lists, but in columns of feature lists: no feature of tf.Example holds them.
    """
    viewed = tensorflow_schema(without_marks(schema))
    for field in viewed:
        if is_sequence(field):
            sequence_key(field)
        elif pa.types.is_nested(field.type) and pa.types.is_nested(field.type.value_type):
            raise ConfigError(
                f"column {field.name!r} is {field.type}: a tf.Example feature is one flat list; flatten it, or write Parquet"
            )
    return viewed


def list_keys(schema: pa.Schema) -> list[str | None]:
    """Returns for each column the key of its feature list, or None where it is a feature, as the encoder takes it."""
    return [sequence_key(field) if is_sequence(field) else None for field in schema]


def refuse_nulls_in_lists(batch: pa.RecordBatch, first_row: int) -> None:
    """Checks that no list of the batch holds a null: a feature's list has no place for one, and 0 or "" would be another value.

    Args:
        batch: of a schema of `record_schema`.
        first_row: row of the file that the batch begins with.

    Raises:
        DataError: with the column and the first such row.
    """
    for field, column in zip(batch.schema, batch.columns):
        if not pa.types.is_nested(field.type):
            continue
        row = row_with_null_inside(column)
        if row is not None:
            raise DataError(
                f"column {field.name!r} holds a null inside a list, which a tf.Example cannot; drop such values or fill them in, "
                "or write Parquet",
                record=first_row + row,
            )


def result_schema(schema: pa.Schema, dictionary: Sequence[str] | bool) -> pa.Schema:
    """Returns the schema with the named bytes columns (True: all of them) dictionary-encoded."""
    return pa.schema([_dictionary_field(f) if _named(f, dictionary) else f for f in schema], metadata=schema.metadata)


def _named(field: pa.Field, dictionary: Sequence[str] | bool) -> bool:
    return feature_type(field.type) == "bytes" and (
        dictionary is True or (dictionary is not False and field.name in dictionary)
    )


def _dictionary_field(field: pa.Field) -> pa.Field:
    return field.with_type(_dictionary_type(field.type))


def _dictionary_type(data_type: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(data_type):
        return data_type
    if pa.types.is_fixed_size_list(data_type):
        return pa.list_(_dictionary_type(data_type.value_type), data_type.list_size)
    if pa.types.is_list(data_type):
        return pa.list_(_dictionary_type(data_type.value_type))
    return pa.dictionary(pa.int32(), data_type)


_NULLABLE, _REQUIRED, _FIXED_LIST, _LIST, _FRAMES, _FIXED_FRAMES, _VAR_FRAMES = range(
    7
)  # as in engine/native/decoder/columns.h


def native_schema(schema: pa.Schema, selected: Sequence[str], dictionary: Sequence[str] | bool) -> Any:
    """Returns the codec's own schema object: every column, so that it tells unselected from unknown."""
    native, chosen = _native.Schema(), set(selected)
    for field in schema:
        shape, size = _native_shape(field)
        key = sequence_key(field) if is_sequence(field) else field.name
        kind = _KINDS[feature_type(field.type)]
        encoded = _named(field, dictionary)
        native.add(key, kind, shape, size, field.name in chosen, encoded, default_of(field), not field.nullable)
    return native


def _native_shape(field: pa.Field) -> tuple[int, int]:
    """The codec's number of the column's shape, and values of a fixed list or frame."""
    if is_sequence(field):
        frame = field.type.value_type
        if pa.types.is_fixed_size_list(frame):
            return _FIXED_FRAMES, frame.list_size
        return (_VAR_FRAMES if pa.types.is_list(frame) else _FRAMES), 0
    if pa.types.is_fixed_size_list(field.type):
        # A nullable one is read as a list, made fixed afterwards: only there may it be null.
        return (_LIST, field.type.list_size) if field.nullable else (_FIXED_LIST, field.type.list_size)
    if pa.types.is_list(field.type):
        return _LIST, 0
    return (_NULLABLE if field.nullable else _REQUIRED), 0


def decoded_schema(schema: pa.Schema, selected: Sequence[str], dictionary: Sequence[str] | bool) -> pa.Schema:
    """Returns what the codec gives back for `native_schema` of the same arguments: the selected columns in schema order."""
    fields, chosen = [], set(selected)
    for field in schema:
        if field.name in chosen:
            loose = pa.types.is_fixed_size_list(field.type) and field.nullable
            fields.append(field.with_type(pa.list_(field.type.value_type)) if loose else field)
    return result_schema(pa.schema(fields), dictionary)


class _Decoded:
    """A decoder's batch as the Arrow PyCapsule interface gives it."""

    def __init__(self, schema: pa.Schema, array: Any) -> None:
        self._schema, self._array = schema, array

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return self._schema.__arrow_c_schema__(), self._array


def imported(array: Any, decoded: pa.Schema, result: pa.Schema) -> pa.RecordBatch:
    """Returns the batch in a decoder's capsule, whose columns are in schema order, in the order and types asked for."""
    as_wanted = decoded.equals(result)
    schema = result if as_wanted else decoded
    batch = pa.record_batch(_Decoded(schema, array))
    return batch if as_wanted else conform(batch, result)


def fault(code: int, message: bytes, *, path: str, record: int | None, offset_bytes: int) -> DataError:
    """Returns the error of one fault that the decoder found."""
    text = message.decode(errors="backslashreplace")
    if code == 3:
        text = f"feature '{text}' is not in the schema" + _ADVICE["sample"]
    return DataError(text, path=path, record=record, offset_bytes=offset_bytes)
