"""Which columns come back dictionary-encoded."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

__all__ = ["with_dictionaries"]


def with_dictionaries(schema: pa.Schema, dictionary: Sequence[str] | bool) -> pa.Schema:
    """Returns the schema with the named text and bytes columns (True: all of them) dictionary-encoded."""
    if not dictionary:
        return schema
    fields = []
    for field in schema:
        named = dictionary is True or field.name in dictionary  # type: ignore[operator]
        text = pa.types.is_binary(field.type) or pa.types.is_string(field.type)
        fields.append(field.with_type(pa.dictionary(pa.int32(), field.type)) if named and text else field)
    return pa.schema(fields, metadata=schema.metadata)
