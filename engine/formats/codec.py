"""Between Arrow schemas and the native codec: what it decodes to, how faults read, what inference saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from engine import _native
from engine.conform import conform
from engine.errors import ConfigError, DataError
from engine.schema import default_of, feature_type, tensorflow_schema

__all__ = [
    "INFERRED",
    "decoded_schema",
    "example_schema",
    "fault",
    "inferred_schema",
    "native_schema",
    "reorder",
    "result_schema",
]

INFERRED = b"fullpass.inferred"  # schema metadata: "whole" or "sample", by how much of the data was looked at

_KINDS = {"int64": 0, "float32": 1, "bytes": 2}
_TYPES = {1: pa.binary(), 2: pa.float32(), 3: pa.int64()}
_NAMES = {1: "bytes", 2: "float", 3: "int64"}
_ADVICE = {
    "sample": "; the schema was inferred from a part of the data: give a feature_spec, or `fullpass inspect --write-manifest`",
}


def example_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema in the types of tf.Example.

    Raises:
        ConfigError: lists of lists, which tf.Example cannot hold.
    """
    viewed = tensorflow_schema(schema)
    for field in viewed:
        if pa.types.is_nested(field.type) and pa.types.is_nested(field.type.value_type):
            raise ConfigError(
                f"column {field.name!r} is {field.type}: a tf.Example feature is one flat list; flatten it, or write Parquet"
            )
    return viewed


def result_schema(schema: pa.Schema, dictionary: Sequence[str] | bool) -> pa.Schema:
    """Returns the schema with the named bytes columns (True: all of them) dictionary-encoded."""
    return pa.schema([_dictionary_field(f) if _named(f, dictionary) else f for f in schema], metadata=schema.metadata)


def _named(field: pa.Field, dictionary: Sequence[str] | bool) -> bool:
    return feature_type(field.type) == "bytes" and (
        dictionary is True or (dictionary is not False and field.name in dictionary)
    )


def _dictionary_field(field: pa.Field) -> pa.Field:
    if pa.types.is_dictionary(field.type):
        return field
    if pa.types.is_fixed_size_list(field.type):
        return field.with_type(pa.list_(pa.dictionary(pa.int32(), field.type.value_type), field.type.list_size))
    if pa.types.is_list(field.type):
        return field.with_type(pa.list_(pa.dictionary(pa.int32(), field.type.value_type)))
    return field.with_type(pa.dictionary(pa.int32(), field.type))


def native_schema(schema: pa.Schema, selected: Sequence[str], dictionary: Sequence[str] | bool) -> Any:
    """Returns the codec's own schema object: every column, so that it tells unselected from unknown."""
    native = _native.Schema()
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            shape, size = 2, field.type.list_size
        elif pa.types.is_list(field.type):
            shape, size = 3, 0
        else:
            shape, size = (0 if field.nullable else 1), 0
        if shape == 2 and field.nullable:
            shape = 3  # read as a list, made fixed afterwards: only there may it be null
        kind = _KINDS[feature_type(field.type)]
        native.add(field.name, kind, shape, size, field.name in selected, _named(field, dictionary), default_of(field))
    return native


def decoded_schema(schema: pa.Schema, selected: Sequence[str], dictionary: Sequence[str] | bool) -> pa.Schema:
    """Returns what the codec gives back for `native_schema` of the same arguments: the selected columns in schema order."""
    fields = []
    for field in schema:
        if field.name in selected:
            loose = pa.types.is_fixed_size_list(field.type) and field.nullable
            fields.append(field.with_type(pa.list_(field.type.value_type)) if loose else field)
    return result_schema(pa.schema(fields), dictionary)


def reorder(batch: pa.RecordBatch, decoded: pa.Schema, result: pa.Schema) -> pa.RecordBatch:
    """Returns a decoded batch, whose columns stand in schema order, in the order and types asked for."""
    if decoded.equals(result):
        return pa.RecordBatch.from_arrays(batch.columns, schema=result) if batch.num_columns else batch
    return conform(batch, result)


def fault(code: int, message: bytes, *, path: str, record: int | None, offset_bytes: int) -> DataError:
    """Returns the error of one fault that the decoder found."""
    text = message.decode(errors="backslashreplace")
    if code == 3:
        text = f"feature '{text}' is not in the schema" + _ADVICE["sample"]
    return DataError(text, path=path, record=record, offset_bytes=offset_bytes)


def inferred_schema(inference: Any, whole: bool, paths: Sequence[str]) -> pa.Schema:
    """Returns the schema of what inference saw. Where it saw only a part, every column is nullable.

    Raises:
        DataError: a feature of two kinds.
    """
    fields = []
    for key, kinds, present, _, most in inference.features():
        name = key.decode(errors="surrogateescape")
        numbers = [number for number in _TYPES if kinds >> number & 1]
        if len(numbers) > 1:
            raise DataError(
                f"feature {name!r} holds {' in some records and '.join(_NAMES[n] for n in numbers)} in others; "
                "leave it out with a feature_spec, or write it anew",
                path=paths[0],
            )
        if not numbers:
            continue  # named, but never with a value
        value = _TYPES[numbers[0]]
        always = whole and present == inference.records and most == 1
        single = most <= 1
        fields.append(pa.field(name, value if single else pa.list_(value), nullable=not (always and single)))
    return pa.schema(fields, metadata={INFERRED: b"whole" if whole else b"sample"})
