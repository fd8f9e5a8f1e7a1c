"""CSV files as a source: parsed once, into numbers where they are numbers; types are decided when all files were seen."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from engine.core.errors import ConfigError, DataError, column_not_found, listed
from engine.dataset.sharding.source import Source, SourcePart
from engine.formats.csv.cells import Cells, read_columns
from engine.formats.csv.column import Column
from engine.formats.csv.options import CsvOptions
from engine.formats.csv.pieces import NoText
from engine.formats.csv.reader import csv_columns, parse_csv
from engine.formats.csv.text_stream import default_delimiter
from engine.formats.options import ReadOptions
from engine.formats.partitions import (
    NO_LEVELS,
    add_partitions,
    mark_partitions,
    partition_fields,
    partition_keys,
    stored_columns,
    without_marks,
)
from engine.formats.spool import Spool
from engine.formats.stored_keys import refuse_contradicted
from engine.schema.conform import conform

__all__ = ["open_csv"]


@dataclasses.dataclass(frozen=True)
class _Kept:
    """A piece of a file in the spool: its number there (None: it had no room), its rows, and which columns' digits are the text."""

    number: int | None
    rows: int
    as_written: tuple[bool, ...]


def open_csv(
    paths: Sequence[str],
    options: CsvOptions,
    schema: pa.Schema | None = None,
    spool_directory: str | None = None,
    everything: Sequence[str] | None = None,
    levels: Mapping[str, int] = NO_LEVELS,
) -> Source:
    """Returns the source of CSV files that have the same columns, in any order.

    One pass reads and parses every file, keeps numbers as numbers and texts as texts, and decides each column's type over the
    values of all files. A file is parsed a second time only where a column that looked like numbers in it is text after all,
    and the numbers do not have the text's own spelling.

    Args:
        paths: files.
        options: how they are written.
        schema: what batches are made to fit; None takes the types that were found.
        spool_directory: where what was parsed is kept meanwhile, if it is much; None takes that of temporary files.
        everything: these files and those that filters left out: the columns of directories have the types that all need.
        levels: of files with keys above a directory that is none; see `engine.formats.partitions.partition_keys`.

    Raises:
        DataError: files whose columns differ, a damaged file, or a value that is not of its column's declared type.
        ConfigError: a declared column that the files do not have.
    """
    return _CsvFiles(paths, options, spool_directory, levels).source(schema, everything or paths)


def _names_of(paths: Sequence[str], options: CsvOptions) -> dict[str, list[str]]:
    """The columns of each file but those that hold nothing, which contradict nothing; if all do, the first says so."""
    found: dict[str, list[str]] = {}
    for path in paths:
        with contextlib.suppress(NoText):
            found[path] = csv_columns(path, options)
    return found or {paths[0]: csv_columns(paths[0], options)}


class _CsvFiles:
    def __init__(
        self, paths: Sequence[str], options: CsvOptions, spool_directory: str | None, levels: Mapping[str, int]
    ) -> None:
        self._paths, self._options, self._levels = list(paths), options, levels
        names_of = _names_of(self._paths, options)
        self._empty = [path for path in self._paths if path not in names_of]
        self._names = next(iter(names_of.values()))
        there = set(self._names)
        absent = [name for name in options.column_types if name not in there]
        if absent:
            raise ConfigError(f"column_types: {paths[0]}: {column_not_found(absent[:1], self._names)}")
        self._columns = [Column(name, options.column_types.get(name), options.markers) for name in self._names]
        self._spool = Spool(spool_directory)
        self._kept = {path: self._inspect(path, names) for path, names in names_of.items()}
        self._fields = [column.field() for column in self._columns]
        self._located = pa.schema(self._fields)

    def source(self, schema: pa.Schema | None, everything: Sequence[str]) -> Source:
        """Returns the source of all files."""
        # Columns that the names of directories hold (`year=2024/`) come behind those of the files, as with other formats.
        own = schema or pa.schema(self._fields)
        found = partition_fields(everything, self._levels)
        partitions = [field for field in found if field.name not in set(self._names)]
        self._located = pa.schema([*own, *partitions]) if schema is None else mark_partitions(own, partitions)
        wanted = without_marks(self._located)
        parts: list[SourcePart] = []
        for path, kept in self._kept.items():
            parts += self._parts(path, kept, wanted)

        def read(batch_rows: int) -> Iterator[pa.RecordBatch]:
            for part in parts:
                for batch in part.read():
                    for start in range(0, batch.num_rows, batch_rows):
                        yield batch.slice(start, batch_rows)

        notes = [note for column in self._columns for note in column.notes()]
        notes += self._wrong_delimiter()
        if self._empty:
            others = f" and {len(self._empty) - 1:,} more files" if len(self._empty) > 1 else ""
            notes.append(f"{self._empty[0]}{others} hold{'s' * (not others)} nothing, not even names of columns")
        return Source(wanted, sum(part.records for part in parts), self._paths, read, tuple(notes), parts)

    def _inspect(self, path: str, names: list[str]) -> list[_Kept]:
        order = self._order(path, names)
        columns, kept, in_order = self._columns, [], order == list(range(len(order)))

        declared, markers = [column.declared for column in columns], self._options.markers

        def cells(batch: pa.RecordBatch) -> tuple[list[Cells], int | None]:
            batch = batch if in_order else batch.select(order)
            found = read_columns(batch, declared, markers, [not column.settled for column in columns])
            # Kept by the threads that parse: one thread that wrote all of it would be what the others wait for.
            parsed = pa.RecordBatch.from_arrays([each.array for each in found], names=self._names)
            return found, self._spool.add(parsed) if parsed.num_rows else None

        for piece in parse_csv(path, self._options, cells):
            found, number = piece.result
            for column, each in zip(columns, found):
                column.add(each, path, piece.first_record)
            kept.append(_Kept(number, piece.rows, tuple(each.as_written for each in found)))
        return [piece for piece in kept if piece.rows]

    def _order(self, path: str, names: list[str]) -> list[int]:
        """Where in the file each column of the first file is."""
        places, wanted = {name: index for index, name in enumerate(names)}, set(self._names)
        missing = [name for name in self._names if name not in places]
        extra = [name for name in names if name not in wanted]
        if missing or extra:
            what = f"has no column {missing[0]!r}" if missing else f"has a column {extra[0]!r}"
            other = f"has columns {listed(names)}; {self._paths[0]} has {listed(self._names)}"
            raise DataError(f"{what}: it {other}", path=path, record=0)
        return [places[name] for name in self._names]

    def _parts(self, path: str, kept: list[_Kept], schema: pa.Schema) -> list[SourcePart]:
        """A part for each piece in the spool; one for the whole file where it is parsed again."""
        if not all(piece.number is not None and self._fits(piece) for piece in kept):
            records = sum(piece.rows for piece in kept)
            return [SourcePart(path=path, records=records, read=lambda: self._parse_again(path, schema))]
        parts, first = [], 0
        for piece in kept:

            def read(piece: _Kept = piece, first: int = first) -> Iterator[pa.RecordBatch]:
                yield self._conformed(self._fitted(piece), schema, path, first)

            parts.append(SourcePart(path=path, records=piece.rows, read=read))
            first += piece.rows
        return parts

    def _fits(self, piece: _Kept) -> bool:
        assert piece.number is not None
        stored = self._spool.schema(piece.number)
        return all(
            kind == field.type or field.type != pa.string() or (kind == pa.int64() and exact)
            for kind, field, exact in zip(stored.types, self._fields, piece.as_written)
        )

    def _fitted(self, piece: _Kept) -> pa.RecordBatch:
        assert piece.number is not None
        stored = self._spool.read(piece.number)
        arrays = []
        for column, field, cells, exact in zip(self._columns, self._fields, stored.columns, piece.as_written):
            fitted = column.fitted(cells, exact, field.type)
            assert fitted is not None
            arrays.append(fitted)
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(self._fields))

    def _parse_again(self, path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        order = self._order(path, csv_columns(path, self._options))
        declared = [
            "string" if field.type == pa.string() else column.declared
            for column, field in zip(self._columns, self._fields)
        ]

        def typed(texts: pa.RecordBatch) -> pa.RecordBatch:
            arrays = []
            found = read_columns(texts.select(order), declared, self._options.markers, [True] * len(declared))
            for column, field, cells in zip(self._columns, self._fields, found):
                fitted = column.fitted(cells.array, cells.as_written, field.type)
                if fitted is None or fitted.type != field.type:
                    raise DataError(f"column {field.name!r} is no longer of {field.type}: the file changed", path=path)
                arrays.append(fitted)
            return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in self._fields])

        for piece in parse_csv(path, self._options, typed):
            yield self._conformed(piece.result, schema, path, piece.first_record)

    def _conformed(self, batch: pa.RecordBatch, schema: pa.Schema, path: str, first_record: int) -> pa.RecordBatch:
        options = ReadOptions()
        own, _ = stored_columns(self._located, options)
        batch = conform(batch, own, path, first_record)
        levels = self._levels.get(path)
        refuse_contradicted(batch, partition_keys(path, levels), path, first_record)
        batch = add_partitions(batch, self._located, options, path, levels)
        return conform(batch, schema, path, first_record)

    def _wrong_delimiter(self) -> list[str]:
        """A note where the only column's name looks as if another character were between values."""
        if len(self._names) != 1:
            return []
        used = self._options.delimiter or default_delimiter(self._paths[0])
        likely = [mark for mark in ";\t|," if mark != used and mark in self._names[0]]
        if not likely:
            return []
        return [f"the only column is {self._names[0]!r}: is the delimiter {likely[0]!r} and not {used!r}?"]
