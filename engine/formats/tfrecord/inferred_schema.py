"""The schema of what the native inference saw of records: which columns, of which shape."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from engine.schema.metadata_keys import INFERRED
from engine.schema.sequence import column_name, frame_field

__all__ = ["inferred_schema", "saw_a_part"]

_TYPES = {1: pa.binary(), 2: pa.float32(), 3: pa.int64()}  # by the native inference's number of a kind


def inferred_schema(inference: Any, whole: bool) -> pa.Schema:
    """Returns the schema of what inference saw. Where it saw only a part, every column is nullable.

    Records with feature lists are tf.SequenceExamples: their lists become columns, of lists where any frame had not one value.
    """
    fields = []
    for key, kinds, present, least, most in inference.features():
        name = key.decode(errors="surrogateescape")
        value = _inferred_type(kinds)
        if value is None:
            continue  # named, but never with a value
        in_all = whole and present == inference.records
        fields.append(pa.field(name, *_inferred_shape(value, least, most, in_all)))
    context = [field.name for field in fields]
    for key, kinds, present, least, most in inference.feature_lists():
        name = key.decode(errors="surrogateescape")
        value = _inferred_type(kinds)
        if value is None:
            continue
        frame = value if least == most == 1 else pa.list_(value)
        always = whole and present == inference.records
        fields.append(frame_field(column_name(name, context), name, frame, nullable=not always))
    return pa.schema(fields, metadata={INFERRED: b"whole" if whole else b"sample"})


def saw_a_part(schema: pa.Schema) -> bool:
    """Returns whether a schema was inferred from a part of the records: another one may have features that it does not know."""
    return (schema.metadata or {}).get(INFERRED) == b"sample"


def _inferred_shape(value: pa.DataType, least: int, most: int, in_all: bool) -> tuple[pa.DataType, bool]:
    """Returns (type, whether values may be missing) of a feature whose records have `least` to `most` values.

    An empty list is how Spark, Ray and others write a missing value. As many values in every record are a fixed shape.
    """
    if most <= 1:
        return value, not (in_all and least == 1)
    if in_all and least == most:
        return pa.list_(value, most), False
    return pa.list_(value), True


def _inferred_type(kinds: int) -> pa.DataType | None:
    return next((kind for number, kind in _TYPES.items() if kinds >> number & 1), None)
