"""Columns that the names of directories hold: `year=2024/month=1/part-0.parquet`, as Spark, Hive, Ray and pyarrow write them.

The keys of a file are those of the unbroken run of `key=value` directories that it lies in, and those of all directories
below the one that the data set was opened by, as Hive's `year=2024/HIVE_UNION_SUBDIR_1/` has them (`levels` of a file). A
column that the files themselves have is read from them (see `stored_keys`); the other keys are columns marked with field
metadata `fullpass.partition`, so that splits, manifests and workers know them without a look at other files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import pyarrow as pa

from engine.core.errors import ConfigError, DataError, column_not_found
from engine.formats.options import ReadOptions
from engine.schema.metadata_keys import PARTITION, TIMES

__all__ = [
    "NO_LEVELS",
    "NO_VALUE",
    "add_partitions",
    "all_keys",
    "is_marked",
    "levels_to",
    "mark_partitions",
    "partition_fields",
    "partition_keys",
    "stored_columns",
    "with_partitions",
    "without_marked",
    "without_marks",
]

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # as Hive, Spark and pyarrow name the directory of missing values
NO_LEVELS: Mapping[str, int] = {}
_MOST_KNOWN = 64
_KNOWN: dict[int, tuple[pa.Schema, frozenset[str]]] = {}  # by id: to hash a schema takes longer than to look through it


def partition_fields(paths: Sequence[str], levels: Mapping[str, int] = NO_LEVELS) -> list[pa.Field]:
    """Returns a marked field for each key in the directories of the files: int32 where all values fit it and no two of them are one
    number (`01` and `1`, of which readers that know numbers alone make one value), else string.

    A key that some files lack, or whose value is missing in some, is nullable.

    Args:
        paths: files.
        levels: of those that lie below a directory which is no key; see `partition_keys`.
    """
    keys = [all_keys(path, levels.get(path)) for path in paths]
    fields = []
    for name in dict.fromkeys(name for found in keys for name in found):
        values = [found.get(name) for found in keys]
        distinct = sorted({value for value in values if value is not None})
        kind = pa.int32() if distinct and _are_numbers(distinct) else pa.string()
        fields.append(pa.field(name, kind, None in values, {PARTITION: name.encode()}))
    return fields


def with_partitions(schema: pa.Schema, paths: Sequence[str], levels: Mapping[str, int] = NO_LEVELS) -> pa.Schema:
    """Returns the schema of files with the columns that their directories hold behind those of their own."""
    own = set(schema.names)
    added = [field for field in partition_fields(paths, levels) if field.name not in own]
    return pa.schema([*schema, *added], metadata=schema.metadata)


def mark_partitions(schema: pa.Schema, fields: Sequence[pa.Field]) -> pa.Schema:
    """Returns a given schema with those of its columns marked that directories hold."""
    names = {field.name for field in fields}
    marked = [
        field.with_metadata({**(field.metadata or {}), PARTITION: field.name.encode()})
        if field.name in names
        else field
        for field in schema
    ]
    return pa.schema(marked, metadata=schema.metadata)


def stored_columns(schema: pa.Schema, options: ReadOptions) -> tuple[pa.Schema, tuple[str, ...] | None]:
    """Returns (schema of what the files hold, names to read of it): all but the marked columns.

    Raises:
        ConfigError: a name that is no column, with those that there are.
    """
    marked = _marked_names(schema)
    if not marked:
        return schema, options.columns
    own = without_marked(schema)
    if options.columns is None:
        return own, None
    known = set(schema.names)
    unknown = [name for name in options.columns if name not in known]
    if unknown:
        raise ConfigError(column_not_found(unknown, schema.names))
    return own, tuple(name for name in options.columns if name not in marked)


def without_marked(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of what the files hold: all but the marked columns."""
    marked = _marked_names(schema)
    if not marked:
        return schema
    return pa.schema([field for field in schema if field.name not in marked], metadata=schema.metadata)


def add_partitions(
    batch: pa.RecordBatch, schema: pa.Schema, options: ReadOptions, path: str, levels: int | None = None
) -> pa.RecordBatch:
    """Returns a batch of `stored_columns` with the marked columns, in the order asked for.

    Args:
        batch: rows of the file.
        schema: of the data set.
        options: which columns are read, and how.
        path: of the file.
        levels: of the file; see `partition_keys`.

    Raises:
        DataError: the file's directories do not hold the key, or a value that does not fit the column's type.
    """
    if not _marked_names(schema):
        return batch
    wanted = list(schema) if options.columns is None else [schema.field(name) for name in options.columns]
    if not any(is_marked(field) for field in wanted):
        return batch
    keys = all_keys(path, levels)
    arrays, fields = [], []
    for field in wanted:
        if not is_marked(field):
            place = batch.schema.get_field_index(field.name)
            arrays.append(batch.column(place))
            fields.append(batch.schema.field(place))
            continue
        arrays.append(_constant(field, keys, batch.num_rows, options, path))
        fields.append(field.with_type(arrays[-1].type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata=batch.schema.metadata))


def without_marks(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of what is written of batches of `schema`: without notes of how its columns are read from the files."""
    if not any(key in (field.metadata or {}) for field in schema for key in (PARTITION, TIMES)):
        return schema
    fields = []
    for field in schema:
        notes = {key: value for key, value in (field.metadata or {}).items() if key not in (PARTITION, TIMES)}
        fields.append(field.with_metadata(notes or None))
    return pa.schema(fields, metadata=schema.metadata)


def _marked_names(schema: pa.Schema) -> frozenset[str]:
    """Names of the marked columns. A data set asks with one schema object for every block of each thread, so it is looked at once."""
    known = _KNOWN.get(id(schema))
    if known is None or known[0] is not schema:
        known = schema, frozenset(field.name for field in schema if is_marked(field))
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        _KNOWN[id(schema)] = known  # holds the schema: no other can have its id meanwhile
    return known[1]


def is_marked(field: pa.Field) -> bool:
    """Returns whether the names of directories hold a column."""
    return PARTITION in (field.metadata or {})


def partition_keys(path: str, levels: int | None = None) -> dict[str, str | None]:
    """Returns the keys and values of the `key=value` directories that a file lies in; a missing value is None.

    Args:
        path: of the file.
        levels: how many of its directories to look at, from the innermost, be they keys or not; None for those up to the first
            that is no key.

    Raises:
        DataError: a key that two of them give different values, or one that is no text.
    """
    found: list[tuple[str, str | None]] = []
    # The same files have the same columns, from wherever they are named: `cd day=1` leaves a key above a relative path.
    whole = path if path.startswith("/") or "://" in path else os.path.abspath(path)
    for part in whole.split("/")[-2::-1][:levels]:
        name, equals, value = part.partition("=")
        if not (name and equals):
            if levels is None:
                break
            continue
        found.append((_text(name, path), None if value == NO_VALUE else _text(value, path)))
    keys = dict(reversed(found))
    if len(keys) < len(found):
        twice = next((name for name, value in found if keys[name] != value), None)
        if twice is not None:
            raise DataError(f"lies in two directories {twice}=VALUE that say different values", path=path)
    return keys


def all_keys(path: str, levels: int | None) -> dict[str, str | None]:
    """Returns the keys and values of the directories next to a file and, where `levels` says how many, of those above them."""
    keys = partition_keys(path)
    return {**keys, **partition_keys(path, levels)} if levels else keys


def levels_to(path: str, root: str) -> int | None:
    """Returns how many directories lie between a root and a file in it, if keys are among them that its unbroken run does not have.

    Args:
        path: of a file.
        root: the directory that the data were opened by; both in one spelling.
    """
    prefix = root.rstrip("/") + "/"
    if not path.startswith(prefix):
        return None
    parts = path.removeprefix(prefix).split("/")[-2::-1]
    keys = [part.find("=") > 0 for part in parts]
    return len(parts) if keys != sorted(keys, reverse=True) else None


def _text(part: str, path: str) -> str:
    """A part of a directory's name as text; one that is no UTF-8 would be other text, or none that a column takes."""
    try:
        found = unquote(part, errors="strict")
        found.encode()
    except UnicodeError as error:
        raise DataError(
            f"lies in a directory whose name says {part!r} of a column, which is no text of UTF-8: rename the directory",
            path=path,
        ) from error
    return found


def _are_numbers(texts: list[str]) -> bool:
    """Whether different texts are as many numbers of 32 bits."""
    try:
        numbers = pa.array(texts, pa.string()).cast(pa.int32())
    except pa.ArrowInvalid:
        return False
    return len(numbers.unique()) == len(texts)


def _constant(field: pa.Field, keys: Mapping[str, str | None], rows: int, options: ReadOptions, path: str) -> pa.Array:
    text = keys.get(field.name)
    if text is None and not field.nullable:
        raise DataError(
            f"column {field.name!r} is in the names of directories, but this file lies in none {field.name}=VALUE",
            path=path,
        )
    try:
        value = pa.scalar(text, pa.string()).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"lies in {field.name}={text}, which does not fit column {field.name!r} of type {field.type}: {error}",
            path=path,
        ) from error
    array = pa.repeat(value, rows)
    named = options.dictionary is True or (options.dictionary and field.name in options.dictionary)
    if named and (pa.types.is_string(field.type) or pa.types.is_binary(field.type)):
        return array.dictionary_encode()
    return array
