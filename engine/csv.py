"""CSV files as batches: one type a column, inferred from the whole file, so that row 10,000,000 cannot contradict row 1."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from engine import paths as _paths
from engine.errors import DataError

__all__ = ["CsvFacts", "CsvOptions", "inspect_csv", "is_csv", "read_csv"]

EXTENSIONS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zip", ".tsv.zip")
_LADDER = (pa.int64(), pa.float64(), pa.string())  # each column takes the first that all its values fit
_BLOCK_BYTES = 4 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvOptions:
    """How CSV is written.

    Args:
        delimiter: between values; None takes a tab for .tsv and a comma otherwise.
        column_names: names where the file has no header row; None reads them from its first row.
        null_values: texts, unquoted, that mean "missing"; None takes pyarrow's list ("", "NA", "NULL", "nan", ...).
    """

    delimiter: str | None = None
    column_names: tuple[str, ...] | None = None
    null_values: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvFacts:
    """What one pass over a CSV file found: its schema (int64, double or string; nullable where values are missing) and rows."""

    schema: pa.Schema
    num_records: int


def is_csv(path: str) -> bool:
    """Returns whether a path's name is that of a CSV or TSV file, plain, .gz or .zip."""
    return path.lower().endswith(EXTENSIONS)


def inspect_csv(path: str, options: CsvOptions | None = None) -> CsvFacts:
    """Returns the schema that every row fits and the number of rows; reads the whole file.

    Raises:
        DataError: a row with more or fewer values than the header, or a file without a header.
    """
    rungs: list[int] = []
    nulls: list[int] = []
    names: list[str] = []
    rows = 0
    for batch in _read(path, options or CsvOptions(), None):
        if not names:
            names, rungs, nulls = batch.schema.names, [0] * batch.num_columns, [0] * batch.num_columns
        rows += batch.num_rows
        for index, column in enumerate(batch.columns):
            nulls[index] += column.null_count
            while rungs[index] < 2 and not _fits(column, _LADDER[rungs[index]]):
                rungs[index] += 1
    if not names:
        names = _header(path, options or CsvOptions())
        rungs, nulls = [2] * len(names), [0] * len(names)
    rungs = [2 if missing == rows else rung for rung, missing in zip(rungs, nulls)]
    fields = [pa.field(name, _LADDER[rung], nullable=bool(missing)) for name, rung, missing in zip(names, rungs, nulls)]
    return CsvFacts(schema=pa.schema(fields), num_records=rows)


def read_csv(path: str, schema: pa.Schema, options: CsvOptions | None = None) -> Iterator[pa.RecordBatch]:
    """Yields the file's rows with exactly the schema's columns and types.

    Raises:
        DataError: a row that does not parse.
    """
    for batch in _read(path, options or CsvOptions(), schema):
        yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def _fits(column: pa.Array, data_type: pa.DataType) -> bool:
    try:
        column.cast(data_type)
    except pa.ArrowInvalid:
        return False
    return True


def _read(path: str, options: CsvOptions, schema: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    names = list(options.column_names) if options.column_names else _header(path, options)
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise DataError(
            f"names column {sorted(duplicates)[0]!r} twice in its header; give column_names", path=path, record=0
        )
    types = {name: pa.string() for name in names} if schema is None else {f.name: f.type for f in schema}
    convert = {"null_values": list(options.null_values)} if options.null_values is not None else {}
    try:
        with _open(path) as file:
            reader = pacsv.open_csv(
                file,
                pacsv.ReadOptions(
                    block_size=_BLOCK_BYTES, column_names=list(options.column_names or ()) or None, use_threads=False
                ),
                pacsv.ParseOptions(delimiter=_delimiter(path, options), newlines_in_values=True),
                pacsv.ConvertOptions(
                    column_types=types,
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    include_columns=None if schema is None else schema.names,
                    **convert,
                ),
            )
            yield from reader
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise DataError(str(error).split("\n")[0][:300], path=path) from error


def _delimiter(path: str, options: CsvOptions) -> str:
    return options.delimiter or ("\t" if ".tsv" in path.lower() else ",")


def _header(path: str, options: CsvOptions) -> list[str]:
    import csv

    with _open(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        first = next(csv.reader(text, delimiter=_delimiter(path, options)), None)
    if not first:
        raise DataError("is empty: a CSV file begins with a row of column names", path=path, record=0, offset_bytes=0)
    return first


def _open(path: str) -> Any:
    raw = _paths.open_input(path)
    if path.lower().endswith(".gz"):
        from isal import igzip

        return igzip.open(raw, "rb")
    if path.lower().endswith(".zip"):
        archive = zipfile.ZipFile(raw)
        members = [name for name in archive.namelist() if is_csv(name)]
        if len(members) != 1:
            raise DataError(f"holds {len(members)} CSV files; a zip must hold exactly one", path=path)
        return archive.open(members[0])
    return io.BufferedReader(raw, 1 << 20)  # type: ignore[arg-type]
