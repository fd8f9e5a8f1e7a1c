"""Parquet: read and written through pyarrow; splits are row groups, and so are the manifest's blocks."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.core.errors import ConfigError, DataError
from engine.formats.block import Block
from engine.formats.damage import DamageLog
from engine.formats.options import OnDamage, ReadOptions
from engine.formats.split import Split
from engine.schema.conform import conform, select_fields
from engine.storage import paths as _paths

__all__ = [
    "COMPRESSIONS",
    "EXTENSIONS",
    "Writer",
    "file_compression",
    "infer_schema",
    "matches",
    "read",
    "scan_file",
    "split_file",
    "stored_schema",
]

EXTENSIONS = (".parquet", ".pq")
COMPRESSIONS = (None, "gzip", "zstd", "snappy")
ROW_GROUP_ROWS = 16384  # what the feed shuffles best with; larger groups only help scans that skip whole groups


def matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is Parquet."""
    return head[:4] == b"PAR1"


def file_compression(path: str) -> None:
    """Parquet compresses inside the file: always None."""


def scan_file(path: str, compression: str | None = None) -> tuple[int, tuple[Block, ...]]:
    """Returns (records, one block a row group) from the footer."""
    metadata = _open(path).metadata
    footer = _footer(path)
    blocks = []
    for index in range(metadata.num_row_groups):
        hash_of = hashlib.blake2b(footer + index.to_bytes(8, "little"), digest_size=8).hexdigest()
        blocks.append(Block(offset=index, length=1, records=metadata.row_group(index).num_rows, hash=hash_of))
    return metadata.num_rows, tuple(blocks)


def _footer(path: str) -> bytes:
    """The bytes of the footer, which no checksum of the format itself covers."""
    size_bytes, _ = _paths.stat(path)
    with _paths.open_input(path) as file:
        file.seek(size_bytes - 8)
        length = int.from_bytes(file.read(4), "little")
        file.seek(size_bytes - 8 - length)
        return hashlib.blake2b(file.read(length), digest_size=16).digest()


def infer_schema(paths: Sequence[str], sample_bytes: int | None = None) -> pa.Schema:
    """Returns the files' common schema; a column is not nullable where the footers count no null in it.

    Raises:
        DataError: two files disagree, with the column.
    """
    first: pa.Schema | None = None
    nulls: set[str] = set()
    for path in paths:
        file = _open(path)
        schema = file.schema_arrow.remove_metadata()
        if first is None:
            first = schema
        elif not schema.equals(first):
            _same_columns(first, schema, paths[0], path)
        if len(nulls) < len(first):
            nulls |= _columns_with_nulls(file.metadata, first)
    assert first is not None
    return pa.schema([f.with_nullable(f.name in nulls) for f in first])


def _same_columns(first: pa.Schema, other: pa.Schema, first_path: str, path: str) -> None:
    for field in first:
        index = other.get_field_index(field.name)
        if index < 0:
            raise DataError(f"has no column {field.name!r}, which {first_path} has", path=path)
        if other.field(index).type != field.type:
            raise DataError(
                f"column {field.name!r} is {other.field(index).type}, in {first_path} it is {field.type}", path=path
            )
    extra = set(other.names) - set(first.names)
    if extra:
        raise DataError(f"has column {sorted(extra)[0]!r}, which {first_path} has not", path=path)


def _columns_with_nulls(metadata: Any, schema: pa.Schema) -> set[str]:
    """Names of the columns that may hold nulls; nested ones count as such unless declared otherwise."""
    flat = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    found = set()
    for field in schema:
        if not field.nullable:
            continue
        index = flat.get(field.name)
        if index is None:
            found.add(field.name)
            continue
        for group in range(metadata.num_row_groups):
            statistics = metadata.row_group(group).column(index).statistics
            if statistics is None or not statistics.has_null_count or statistics.null_count:
                found.add(field.name)
                break
    return found


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of what a file holds after rows of `schema` were written to it: the same."""
    return schema


def split_file(
    path: str, compression: str | None, size_bytes: int, blocks: Sequence[Block] | None, target_bytes: int
) -> list[Split]:
    """Returns splits of about `target_bytes` on disk, cut between row groups."""
    metadata = _open(path).metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    splits, start, total, records = [], 0, 0, 0
    for index, group in enumerate(groups):
        size = sum(group.column(c).total_compressed_size for c in range(group.num_columns))
        if index > start and total + size / 2 > target_bytes:
            splits.append(Split(path=path, format="parquet", start=start, stop=index, records=records))
            start, total, records = index, 0, 0
        total += size
        records += group.num_rows
    if groups:
        splits.append(Split(path=path, format="parquet", start=start, stop=len(groups), records=records))
    return splits


def read(split: Split, schema: pa.Schema, options: ReadOptions, damage: DamageLog) -> Iterator[pa.RecordBatch]:
    """Yields the split's rows, in order, with exactly the schema's columns."""
    wanted = select_fields(schema, options.columns)
    dictionary = options.dictionary
    file = _open(
        split.path,
        tuple(n for n in wanted.names if dictionary is True or n in tuple(dictionary or ())) if dictionary else (),
    )
    if split.stop > file.metadata.num_row_groups:
        raise DataError(
            f"has {file.metadata.num_row_groups} row groups, the split asks for [{split.start}, {split.stop}); "
            "the file was replaced: open the data set again",
            path=split.path,
        )
    if dictionary:
        wanted = _dictionary_schema(wanted, file.schema_arrow, dictionary)
    groups = list(range(split.start, split.stop))
    row = sum(file.metadata.row_group(i).num_rows for i in range(split.start))
    runs = [groups] if options.on_damage is OnDamage.RAISE else [[group] for group in groups]
    for run in runs:
        try:
            for batch in _batches(file, run, wanted, options):
                yield conform(batch, wanted, split.path, row)
                row += batch.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError):
                raise DataError("is gone", path=split.path) from error
            rows = sum(file.metadata.row_group(i).num_rows for i in run)
            damage.report(
                DataError(f"row groups {run[0]}..{run[-1]} cannot be decoded: {error}", path=split.path, record=row),
                rows,
            )
            row += rows


def _batches(file: _File, groups: list[int], wanted: pa.Schema, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    if options.on_damage is OnDamage.SKIP:  # a row group counts whole or not at all
        return iter(list(_iterate(file, groups, wanted, options)))
    return _iterate(file, groups, wanted, options)


def _iterate(file: _File, groups: list[int], wanted: pa.Schema, options: ReadOptions) -> Iterator[pa.RecordBatch]:
    if not len(wanted):
        for group in groups:
            rows = file.metadata.row_group(group).num_rows
            yield pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
        return
    names = wanted.names
    missing = [name for name in names if name not in file.names]
    if missing:
        raise DataError(f"has no column {missing[0]!r}; it has {', '.join(sorted(file.names))}")
    yield from file.iter_batches(options.batch_rows, groups, names, use_threads=options.threads > 1)


def _dictionary_schema(wanted: pa.Schema, stored: pa.Schema, dictionary: Any) -> pa.Schema:
    fields = []
    for field in wanted:
        named = dictionary is True or field.name in dictionary
        text = pa.types.is_binary(field.type) or pa.types.is_string(field.type)
        fields.append(field.with_type(pa.dictionary(pa.int32(), field.type)) if named and text else field)
    return pa.schema(fields, metadata=wanted.metadata)


class Writer:
    """Writes batches of one schema to an open file as Parquet."""

    def __init__(
        self, file: Any, schema: pa.Schema, compression: str | None, row_group_rows: int = ROW_GROUP_ROWS
    ) -> None:
        if compression not in COMPRESSIONS:
            raise ConfigError(f"compression is {compression!r}; Parquet takes {', '.join(map(repr, COMPRESSIONS))}")
        self._writer = pq.ParquetWriter(file, schema, compression=compression or "none", write_page_checksum=True)
        self._schema, self._group_rows = schema, row_group_rows
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self.records = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds the batch's rows."""
        self.records += batch.num_rows
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        if self._pending_rows >= self._group_rows:
            table = pa.Table.from_batches(self._pending, self._schema)
            whole = self._pending_rows // self._group_rows * self._group_rows
            self._writer.write_table(table.slice(0, whole), row_group_size=self._group_rows)
            self._pending = table.slice(whole).to_batches()
            self._pending_rows -= whole

    def close(self) -> tuple[Block, ...]:
        """Writes what is pending and the footer; returns no blocks: they are in the footer."""
        if self._pending_rows:
            self._writer.write_table(
                pa.Table.from_batches(self._pending, self._schema), row_group_size=self._group_rows
            )
            self._pending, self._pending_rows = [], 0
        self._writer.close()
        return ()

    def abandon(self) -> None:
        """Lets go of a file that nobody will keep. Closed while the file still takes bytes, and marked so: a writer that
        the garbage collector finds open raises in a finalizer, at any moment of a program that has gone on."""
        with contextlib.suppress(Exception):
            self._writer.close()
        self._writer.is_open = False


class _File(pq.ParquetFile):
    """An opened file that is asked for its columns with every block."""

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """Names of the columns; pyarrow would make the whole schema anew each time."""
        return frozenset(self.schema_arrow.names)


def _open(path: str, dictionary_columns: tuple[str, ...] = ()) -> _File:
    size_bytes, modified_ns = _paths.stat(path)
    return _open_cached(path, size_bytes, modified_ns, dictionary_columns, os.getpid(), threading.get_ident())


@functools.lru_cache(maxsize=64)
def _open_cached(
    path: str, size_bytes: int, modified_ns: int, dictionary_columns: tuple[str, ...], pid: int, thread: int
) -> _File:
    """Opened files, kept so that reading block after block opens nothing: readers of two threads share the footer alone."""
    source = _paths.open_input(path) if _paths.is_remote(path) else path
    try:
        return _File(
            source,
            metadata=_shared_footer(path, size_bytes, modified_ns, pid),
            read_dictionary=list(dictionary_columns),
            memory_map=False,
            pre_buffer=_paths.is_remote(path),  # kept by the reader for good: worth it only where latency is
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"is not a whole Parquet file: {error}. It may be cut off or still being written",
            path=path,
            offset_bytes=max(size_bytes - 8, 0),
        ) from error


@functools.lru_cache(maxsize=64)
def _shared_footer(path: str, size_bytes: int, modified_ns: int, pid: int) -> pq.FileMetaData:
    """Parsed footers, one for all threads: of a file with many row groups and columns it is some megabytes."""
    return pq.read_metadata(_paths.open_input(path) if _paths.is_remote(path) else path)
