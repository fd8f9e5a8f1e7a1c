"""Parquet: read and written through pyarrow; splits are row groups, and so are the manifest's blocks."""

from __future__ import annotations

import collections
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from engine.core.errors import DataError, listed
from engine.formats.beginnings import may_be_text
from engine.formats.block import Block
from engine.formats.damage import DamageLog
from engine.formats.options import OnDamage, ReadOptions
from engine.formats.parquet.batch_rows import batches_by_bytes
from engine.formats.parquet.checks import unchecked
from engine.formats.parquet.footer import Footer
from engine.formats.parquet.int96 import BeyondNanoseconds, refuse_beyond_nanoseconds
from engine.formats.parquet.open_file import ParquetFile, open_parquet
from engine.formats.parquet.plain_blocks import PlainBlocks
from engine.formats.parquet.writer import COMPRESSIONS, Writer
from engine.formats.partitions import without_marks
from engine.formats.split import Split
from engine.formats.spool import all_of
from engine.schema.conform import conform, select_fields
from engine.schema.dictionaries import with_dictionaries
from engine.schema.tensorflow_view import default_of
from engine.schema.unify import unify_schemas

__all__ = [
    "COMPRESSIONS",
    "EXTENSIONS",
    "PlainBlocks",
    "Writer",
    "column_names",
    "column_types",
    "file_compression",
    "infer_schema",
    "matches",
    "read",
    "scan_file",
    "split_file",
    "stored_schema",
    "unchecked",
]

EXTENSIONS = (".parquet", ".pq")
BY_BLOCK = True
_LOG = logging.getLogger("fullpass.engine")


def matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is Parquet."""
    return head[:4] == b"PAR1" and not may_be_text(head)


def file_compression(path: str) -> None:
    """Parquet compresses inside the file: always None."""


def scan_file(path: str, compression: str | None = None) -> tuple[int, tuple[Block, ...]]:
    """Returns (records, one block a row group) from the footer."""
    footer = open_parquet(path).footer
    blocks = []
    for index, rows in enumerate(footer.group_rows):
        hash_of = hashlib.blake2b(footer.digest + index.to_bytes(8, "little"), digest_size=8).hexdigest()
        blocks.append(Block(offset=index, length=1, records=rows, hash=hash_of))
    return footer.rows, tuple(blocks)


def infer_schema(paths: Sequence[str], sample_bytes: int | None = None) -> pa.Schema:
    """Returns the schema that the rows of all files fit; a column is not nullable where the footers count no null in it.

    What differs from file to file is unified as Arrow's `promote_options="permissive"` does, and said in the log.

    Raises:
        DataError: two files hold what no type can, with both.
    """
    nulls: set[str] = set()
    present: collections.Counter[str] = collections.Counter()

    def found() -> Iterator[tuple[str, pa.Schema]]:
        for path in paths:  # each footer is looked at once: there can be ten thousand
            file = open_parquet(path)
            present.update(file.names)
            left = [field for field in file.declared if field.name not in nulls]
            nulls.update(_columns_with_nulls(file.footer, left))
            yield path, file.declared

    unified = unify_schemas(found())
    for note in unified.notes:
        _LOG.warning("%s", note)
    return pa.schema([f.with_nullable(f.name in nulls or present[f.name] < len(paths)) for f in unified.schema])


def _columns_with_nulls(footer: Footer, schema: Iterable[pa.Field]) -> set[str]:
    """Names of the columns that may hold nulls; nested ones count as such unless declared otherwise, or of a fixed size."""
    leaves = {path: index for index, path in enumerate(footer.paths)}
    found = set()
    for field in schema:
        if not field.nullable:
            continue
        paths = [field.name]
        if pa.types.is_fixed_size_list(field.type):
            paths = [f"{field.name}.list.element", f"{field.name}.list.item"]
        index = next((leaves[path] for path in paths if path in leaves), None)
        if index is None or footer.nulls[:, index].any():
            found.add(field.name)
    return found


def column_types(path: str) -> pa.Schema:
    """Returns the columns that a file has, with their types."""
    return open_parquet(path).declared


def column_names(path: str) -> tuple[str, ...]:
    """Returns the names of the columns that a file has."""
    return tuple(open_parquet(path).declared.names)


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of what a file holds after rows of `schema` were written to it."""
    return without_marks(schema)


def split_file(
    path: str, compression: str | None, size_bytes: int, blocks: Sequence[Block] | None, target_bytes: int
) -> list[Split]:
    """Returns splits of about `target_bytes` on disk, cut between row groups."""
    footer = open_parquet(path).footer
    splits, start, total, records = [], 0, 0, 0
    for index, size in enumerate(footer.compressed.sum(axis=1).tolist()):
        if index > start and total + size / 2 > target_bytes:
            splits.append(Split(path=path, format="parquet", start=start, stop=index, records=records))
            start, total, records = index, 0, 0
        total += size
        records += footer.group_rows[index]
    if footer.group_rows:
        splits.append(Split(path=path, format="parquet", start=start, stop=len(footer.group_rows), records=records))
    return splits


def read(split: Split, schema: pa.Schema, options: ReadOptions, damage: DamageLog) -> Iterator[pa.RecordBatch]:
    """Yields the split's rows, in order, with exactly the schema's columns.

    Raises:
        DataError: damage, a value that does not fit, or a file that was replaced.
    """
    wanted = select_fields(schema, options.columns)
    dictionary = options.dictionary
    file = open_parquet(
        split.path,
        tuple(n for n in wanted.names if dictionary is True or n in tuple(dictionary or ())) if dictionary else (),
    )
    group_rows = file.footer.group_rows
    if split.stop > len(group_rows):
        raise DataError(
            f"has {len(group_rows)} row groups, the split asks for [{split.start}, {split.stop}); "
            "the file was replaced: open the data set again",
            path=split.path,
        )
    wanted = with_dictionaries(wanted, dictionary)
    groups = list(range(split.start, split.stop))
    row = sum(group_rows[: split.start])
    runs = [groups] if options.on_damage is OnDamage.RAISE else [[group] for group in groups]
    for run in runs:
        try:
            for batch in _batches(file, run, wanted, options, split.path):
                yield conform(batch, wanted, split.path, row)
                row += batch.num_rows
        except (pa.ArrowException, OSError, ValueError, BeyondNanoseconds) as error:
            if isinstance(error, FileNotFoundError):
                raise DataError("is gone", path=split.path) from error
            rows = sum(group_rows[i] for i in run)
            fault = error if isinstance(error, BeyondNanoseconds) else None
            damage.report(
                fault
                or DataError(f"row groups {run[0]}..{run[-1]} cannot be decoded: {error}", path=split.path, record=row),
                rows,
            )
            row += rows


def _batches(
    file: ParquetFile, groups: list[int], wanted: pa.Schema, options: ReadOptions, path: str
) -> Iterator[pa.RecordBatch]:
    batches = _iterate(file, groups, wanted, options, path)
    # A row group counts whole or not at all.
    return all_of(batches) if options.on_damage is OnDamage.SKIP else batches


def _iterate(
    file: ParquetFile, groups: list[int], wanted: pa.Schema, options: ReadOptions, path: str
) -> Iterator[pa.RecordBatch]:
    if not len(wanted):
        for group in groups:
            rows = file.footer.group_rows[group]
            yield pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
        return
    stored = [name for name in wanted.names if name in file.names]
    lacking = [field for field in wanted if field.name not in file.names]
    for field in lacking:
        if not field.nullable and default_of(field) is None:
            raise DataError(f"has no column {field.name!r}; it has {listed(sorted(file.names))}", path=path)
    if not stored:
        for group in groups:
            yield _all_missing(lacking, file.footer.group_rows[group])
        return
    # Times of 96 bits are looked at before they are read: a row group at a time, or the first row waits for all of them.
    alone = any(name in file.int96 for name in stored)
    for part in [[group] for group in groups] if alone else [groups]:
        refuse_beyond_nanoseconds(file, part, stored, path)
        for batch in batches_by_bytes(file, part, stored, options.batch_rows, options.threads > 1):
            for field in lacking:
                batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
            yield batch


def _all_missing(fields: list[pa.Field], rows: int) -> pa.RecordBatch:
    """Rows of a file that has none of the columns: each missing, or what the schema fills in for it."""
    return pa.RecordBatch.from_arrays([pa.nulls(rows, f.type) for f in fields], names=[f.name for f in fields])
