"""In which unit times count where a given schema has numbers or texts of them: that which all files fit, whatever each one's own is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pyarrow as pa

from engine.schema.conform import innermost
from engine.schema.metadata_keys import TIMES
from engine.schema.unify import unify_schemas

__all__ = ["note_times"]


def note_times(
    given: pa.Schema,
    paths: Sequence[str],
    schema_of: Callable[[str], pa.Schema],
    stored: pa.Schema | None = None,
) -> pa.Schema:
    """Returns the schema with a note of the type of time on each column that is none and that the files have as times.

    Without it a file of microseconds and one of nanoseconds would each be counted in its own unit.

    Args:
        given: schema of what is read.
        paths: of the files, which are looked at only where the first has such a column.
        schema_of: returns the schema of a file.
        stored: what all files fit, where that is known.

    Raises:
        DataError: two files hold what no type can, with both.
    """
    wanted = {field.name for field in given if not pa.types.is_temporal(innermost(field.type))}

    def of(schema: pa.Schema) -> list[pa.Field]:
        return [field for field in schema if field.name in wanted and pa.types.is_temporal(innermost(field.type))]

    if stored is None:
        wanted = {field.name for field in of(schema_of(paths[0]))}
        if not wanted:
            return given
        chosen = ((path, pa.schema([f for f in schema_of(path) if f.name in wanted])) for path in paths)
        distinct: dict[pa.Schema, str] = {}
        for path, schema in chosen:
            distinct.setdefault(schema, path)
        if len(distinct) == 1:
            return given
        stored = unify_schemas((path, schema) for schema, path in distinct.items()).schema
    times = {field.name: innermost(field.type) for field in of(stored)}
    fields = [
        field.with_metadata({**(field.metadata or {}), TIMES: json.dumps(_alias(times[field.name])).encode()})
        if field.name in times
        else field
        for field in given
    ]
    return pa.schema(fields, metadata=given.metadata) if times else given


def _alias(kind: pa.DataType) -> str:
    return f"timestamp[{kind.unit}]" if pa.types.is_timestamp(kind) else str(kind)
