"""What every format has in common whose files are read by numbered blocks: record batches, stripes, runs of lines."""

from __future__ import annotations

import abc
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from engine.core.errors import DataError, listed
from engine.formats.block import Block
from engine.formats.damage import DamageLog
from engine.formats.options import OnDamage, ReadOptions
from engine.formats.split import Split
from engine.formats.spool import all_of
from engine.schema.conform import conform, select_fields
from engine.schema.dictionaries import with_dictionaries
from engine.schema.kinds import wide_integers
from engine.schema.tensorflow_view import default_of
from engine.schema.unify import unify_schemas
from engine.storage import paths as _paths
from engine.storage.open_files import OpenFiles

__all__ = ["NumberedFile", "NumberedFormat"]

_LOG = logging.getLogger("fullpass.engine")
# Of what readers raise over bytes that say nonsense. MemoryError: a length that nobody has room for; RecursionError: a type in a type.
_READ_ERRORS = (
    *(pa.ArrowException, OSError, ValueError, EOFError, KeyError, TypeError, IndexError, NotImplementedError),
    *(OverflowError, MemoryError, RecursionError),
)


class NumberedFile(abc.ABC):
    """One opened file.

    Attributes:
        schema: of its columns.
        sizes: bytes of each block, as far as they are known; they are what splits are cut by.
        nulls: columns that a record lacks, where that is known; None: whoever asks looks.
    """

    schema: pa.Schema
    sizes: Sequence[int]
    nulls: set[str] | None = None

    @abc.abstractmethod
    def read(self, block: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a block with at least the columns named, None for all."""

    def count(self, block: int) -> int:
        """Returns the rows of a block."""
        return sum(batch.num_rows for batch in self.read(block, None))

    @abc.abstractmethod
    def hash(self, block: int) -> bytes:
        """Returns bytes that differ where the block's do."""


class NumberedFormat:
    """A format as the registry has it, over a function that opens files.

    Args:
        name: in the registry.
        open_file: opens one; raises DataError, or what the library that reads it raises.
        matches: whether a file that begins with these bytes is of the format.
        extensions: of the names of its files.
        shared: whether several threads may read one opened file.
    """

    BY_BLOCK = True

    def __init__(
        self,
        name: str,
        open_file: Callable[[str], NumberedFile],
        matches: Callable[[bytes], bool],
        extensions: tuple[str, ...],
        shared: bool = False,
    ) -> None:
        self.EXTENSIONS, self.matches = extensions, matches
        self._name, self._open_file, self._shared = name, open_file, shared
        self._files: OpenFiles[NumberedFile] = OpenFiles(16)

    def open(self, path: str) -> NumberedFile:
        """Returns the opened file, kept for the next block.

        Raises:
            DataError: it is not a whole file of the format.
        """
        marks = *_paths.change_mark(path), os.getpid(), 0 if self._shared else threading.get_ident()
        return self._files.get(path, *marks, opened=lambda: self._opened(path))

    def _opened(self, path: str) -> NumberedFile:
        try:
            return self._open_file(path)
        except _READ_ERRORS as error:
            said = wide_integers(str(error)) or f"is not a whole file of format {self._name!r}: {_said(error)}"
            raise DataError(said, path=path) from error

    def file_compression(self, path: str) -> None:
        """Such a file is compressed inside, or read as one block that its own reader unpacks: always None."""

    def column_types(self, path: str) -> pa.Schema:
        """Returns the columns that a file has, with their types."""
        return self.open(path).schema

    def column_names(self, path: str) -> tuple[str, ...]:
        """Returns the names of the columns that a file has."""
        return tuple(self.open(path).schema.names)

    def scan_file(self, path: str, compression: str | None = None) -> tuple[int, tuple[Block, ...]]:
        """Returns (records, blocks).

        Raises:
            DataError: a damaged block.
        """
        file = self.open(path)
        blocks = []
        for index in range(len(file.sizes)):
            try:
                records = file.count(index)
            except _READ_ERRORS as error:
                raise self._fault(file, path, index, error) from error
            digest = hashlib.blake2b(file.hash(index) + index.to_bytes(8, "little"), digest_size=8).hexdigest()
            blocks.append(Block(offset=index, length=1, records=records, hash=digest))
        return sum(block.records for block in blocks), tuple(blocks)

    def infer_schema(self, paths: Sequence[str], sample_bytes: int | None = 256 << 20) -> pa.Schema:
        """Returns the schema that the rows of all files fit.

        A column is not nullable where no null is found, which is looked for in files of up to `sample_bytes` in all.

        Raises:
            DataError: two files hold what no type can, with both.
        """
        paths = [path for path in paths if self.open(path).schema.names or self.scan_file(path)[0]] or paths[:1]
        unified = unify_schemas((path, self.open(path).schema) for path in paths)
        for note in unified.notes:
            _LOG.warning("%s", note)
        may = {field.name for field in unified.schema if field.nullable}
        nulls = {name for name in may for path in paths if name not in self.column_names(path)}
        size = sum(_paths.stat(path)[0] for path in paths if self.open(path).nulls is None)
        if sample_bytes is not None and size > sample_bytes:
            return unified.schema
        for path in paths:
            left = may - nulls
            known = self.open(path).nulls
            if known is not None:
                nulls |= left & known
                continue
            names = [name for name in self.open(path).schema.names if name in left]
            for block in range(len(self.open(path).sizes) if names else 0):
                nulls |= self._with_nulls(path, block, names)
        return pa.schema([field.with_nullable(field.name in nulls) for field in unified.schema])

    def _with_nulls(self, path: str, block: int, names: list[str]) -> set[str]:
        file = self.open(path)
        found: set[str] = set()
        try:
            for batch in file.read(block, names):
                found.update(name for name in names if batch.column(name).null_count)
        except _READ_ERRORS as error:
            raise self._fault(file, path, block, error) from error
        return found

    def split_file(
        self, path: str, compression: str | None, size_bytes: int, blocks: Sequence[Block] | None, target_bytes: int
    ) -> list[Split]:
        """Returns splits of about `target_bytes` on disk, cut between blocks."""
        sizes = self.open(path).sizes
        splits, start, total = [], 0, 0
        for index, size in enumerate(sizes):
            if index > start and total + size / 2 > target_bytes:
                splits.append(self._split(path, start, index, blocks))
                start, total = index, 0
            total += size
        return [*splits, self._split(path, start, len(sizes), blocks)] if len(sizes) else []

    def _split(self, path: str, start: int, stop: int, blocks: Sequence[Block] | None) -> Split:
        records = None if blocks is None else sum(block.records for block in blocks[start:stop])
        return Split(path=path, format=self._name, start=start, stop=stop, records=records)

    def read(
        self, split: Split, schema: pa.Schema, options: ReadOptions, damage: DamageLog
    ) -> Iterator[pa.RecordBatch]:
        """Yields the split's rows, in order, with exactly the schema's columns.

        Raises:
            DataError: damage, a value that does not fit, or a file that was replaced.
        """
        wanted = with_dictionaries(select_fields(schema, options.columns), options.dictionary)
        file = self.open(split.path)
        if split.stop > len(file.sizes):
            raise DataError(
                f"has {len(file.sizes)} blocks, the split asks for [{split.start}, {split.stop}); the file was replaced: open "
                "the data set again",
                path=split.path,
            )
        if file.schema.names:
            _refuse_lacking(wanted, file.schema, split.path)
        stored = set(file.schema.names)
        names = [name for name in wanted.names if name in stored]
        row = 0
        for index in range(split.start, split.stop):
            try:
                batches = file.read(index, names)
                if options.on_damage is OnDamage.SKIP:
                    batches = all_of(batches)
                for batch in batches:
                    if not file.schema.names:  # an empty file lacks nothing, records without a value do
                        _refuse_lacking(wanted, file.schema, split.path)
                    for start in range(0, batch.num_rows, options.batch_rows):
                        piece = batch.slice(start, options.batch_rows)
                        yield conform(_completed(piece, wanted), wanted, split.path, row)
                        row += piece.num_rows
            except _READ_ERRORS as error:
                if isinstance(error, DataError):
                    raise
                fault = self._fault(file, split.path, index, error)
                damage.report(fault, 0 if split.records is None else split.records - row)

    def _fault(self, file: NumberedFile, path: str, block: int, error: Exception) -> DataError:
        """The error of a block that cannot be read; a row that its text names is counted from the file's first."""
        try:
            first: int | None = sum(file.count(i) for i in range(block))
        except _READ_ERRORS:  # a block before it is damaged, too: how many rows that has is not known
            first = None
        before, _, after = str(error).rpartition(" in row ")
        if before and after.isdecimal():
            return DataError(before, path=path, record=None if first is None else first + int(after))
        where = f"block {block}" if first is None else f"the block that begins here (block {block})"
        return DataError(f"{where} cannot be read: {_said(error)}", path=path, record=first)


def _said(error: Exception) -> str:
    """What an error says, and what it is called where it says nothing, as EOFError and MemoryError of Python's."""
    return str(error) or {EOFError: "it ends too early", MemoryError: "there is no room for what it asks for"}.get(
        type(error), type(error).__name__
    )


def _refuse_lacking(wanted: pa.Schema, stored: pa.Schema, path: str) -> None:
    names = set(stored.names)
    for field in wanted:
        if field.name not in names and not field.nullable and default_of(field) is None:
            raise DataError(f"has no column {field.name!r}; it has {listed(stored.names)}", path=path)


def _completed(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns that its file lacks, missing in every row."""
    names = set(batch.schema.names)
    arrays, fields = list(batch.columns), list(batch.schema)
    for field in wanted:
        if field.name not in names:
            arrays.append(pa.nulls(batch.num_rows, field.type))
            fields.append(field.with_nullable(True))
    if len(wanted) and len(fields) > len(batch.schema):
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
    return batch
