"""Any input, CSV, Parquet or TFRecord, as one stream of batches with one schema and a known number of records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.dataset.dataset import Dataset
from engine.formats.csv.reader import CsvOptions, inspect_csv, is_csv, read_csv
from engine.schema.conform import conform
from engine.storage import paths as _paths

__all__ = ["Source", "open_source", "read_source"]


class Source:
    """One input. `schema` and `num_records` hold for all of `batches()`, which may be called any number of times.

    `notes` says what its reader should know, such as the cell that made a column of numbers text.
    """

    def __init__(
        self, schema: pa.Schema, num_records: int, paths: list[str], read: Any, notes: tuple[str, ...] = ()
    ) -> None:
        self.schema, self.num_records, self.paths, self._read, self.notes = schema, num_records, paths, read, notes

    def batches(self, batch_rows: int = 65536) -> Iterator[pa.RecordBatch]:
        """Yields every record once, in order.

        Raises:
            DataError: damaged input, or another number of records than `num_records`.
        """
        rows = 0
        for batch in self._read(batch_rows):
            rows += batch.num_rows
            yield batch
        if rows != self.num_records:
            raise DataError(
                f"gave {rows} records in this pass and {self.num_records} before; it changed in between",
                path=self.paths[0],
            )


def open_source(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    feature_spec: Mapping[str, Any] | pa.Schema | None = None,
    csv_options: CsvOptions | None = None,
) -> Source:
    """Opens CSV (plain, .gz, .zip), Parquet or TFRecord files, all of one kind.

    CSV columns become what `csv_options.column_types` declares, else int64, double or string, whichever all values of all
    files fit; a first pass finds out.

    Raises:
        DataError: no file, mixed kinds, CSV files whose columns differ, or a value that is not of the declared type.
        ConfigError: declared types for files that are not CSV, or of a column that is not there.
    """
    names = _paths.expand(paths)
    kinds = {is_csv(name) for name in names}
    if kinds == {False}:
        if csv_options is not None and csv_options.column_types:
            raise ConfigError(f"column types are for CSV; {names[0]} says its types itself")
        dataset = Dataset.open(paths, feature_spec)
        return Source(dataset.schema, dataset.num_records, names, lambda rows: dataset.read_batches(rows))
    if len(kinds) > 1:
        other = next(name for name in names if is_csv(name) != is_csv(names[0]))
        raise DataError(f"{names[0]} and this file are of different kinds; ingest them one after the other", path=other)
    facts = [inspect_csv(name, csv_options) for name in names]
    schema = feature_spec if isinstance(feature_spec, pa.Schema) else _widest(names, [fact.schema for fact in facts])

    def read(batch_rows: int) -> Iterator[pa.RecordBatch]:
        for name, fact in zip(names, facts):
            for batch in read_csv(name, fact.schema, csv_options):
                fitted = conform(batch, schema, name)
                for start in range(0, fitted.num_rows, batch_rows):
                    yield fitted.slice(start, batch_rows)

    notes = tuple(str(cell) for fact in facts for cell in fact.odd_cells)
    return Source(schema, sum(fact.num_records for fact in facts), names, read, notes)


def read_source(paths: Any, batch_rows: int = 65536, **options: Any) -> Iterator[pa.RecordBatch]:
    """Yields the records of CSV, Parquet or TFRecord files: `open_source(paths, **options).batches(batch_rows)`."""
    return open_source(paths, **options).batches(batch_rows)


def _widest(names: list[str], schemas: list[pa.Schema]) -> pa.Schema:
    first = schemas[0]
    for name, schema in zip(names, schemas):
        if schema.names != first.names:
            raise DataError(
                f"has columns {', '.join(schema.names)}; {names[0]} has {', '.join(first.names)}", path=name, record=0
            )
    order = [pa.int64(), pa.float32(), pa.float64(), pa.string()]  # float32 only where declared, then for all files
    fields = []
    for index, field in enumerate(first):
        types = [schema.field(index).type for schema in schemas]
        widest = max(types, key=order.index)
        fields.append(pa.field(field.name, widest, nullable=any(schema.field(index).nullable for schema in schemas)))
    return pa.schema(fields)
