"""CSV files as batches: one type a column, inferred from the whole file, so that row 10,000,000 cannot contradict row 1."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from engine.core.errors import ConfigError, DataError
from engine.core.text_encoding import is_encoding, is_utf8
from engine.formats.csv.bad_cell import OddCell, TextWatch, first_misfit, shown
from engine.storage import paths as _paths

__all__ = ["CsvFacts", "CsvOptions", "csv_columns", "inspect_csv", "is_csv", "read_csv"]

EXTENSIONS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zip", ".tsv.zip")
_LADDER = (pa.int64(), pa.float64(), pa.string())  # each column takes the first that all its values fit
_DECLARED = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}
_BLOCK_BYTES = 4 << 20
_ADVICE = "; say how the file is encoded: encoding='latin-1', 'cp1252' or 'utf-16' are common"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvOptions:
    """How CSV is written.

    Args:
        delimiter: between values; None takes a tab for .tsv and a comma otherwise.
        encoding: of the text, as Python names it, such as "latin-1", "cp1252" or "utf-16". What does not decode is an error.
        column_names: names where the file has no header row; None reads them from its first row.
        null_values: texts, unquoted, that mean "missing"; None takes pyarrow's list ("", "NA", "NULL", "nan", ...).
        column_types: name to "int64", "float32" or "string": a value that does not fit is an error. The type of every other
            column is inferred from all its values.
    """

    delimiter: str | None = None
    encoding: str = "utf-8"
    column_names: tuple[str, ...] | None = None
    null_values: tuple[str, ...] | None = None
    column_types: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_encoding(self.encoding):
            raise ConfigError(
                f"encoding {self.encoding!r} is none that Python knows; utf-8, latin-1, cp1252 and utf-16 are some"
            )
        for name, kind in self.column_types.items():
            if kind not in _DECLARED:
                raise ConfigError(f"type {kind!r} of column {name!r}: allowed are {', '.join(_DECLARED)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CsvFacts:
    """What one pass over a CSV file found.

    Attributes:
        schema: int64, double or string, or as declared; nullable where values are missing.
        num_records: rows below the header.
        odd_cells: for each column that is text though most of its values are numbers, the first that is none.
    """

    schema: pa.Schema
    num_records: int
    odd_cells: tuple[OddCell, ...] = ()


def is_csv(path: str) -> bool:
    """Returns whether a path's name is that of a CSV or TSV file, plain, .gz or .zip."""
    return path.lower().endswith(EXTENSIONS)


def csv_columns(path: str, options: CsvOptions | None = None) -> list[str]:
    """Returns the names of a file's columns.

    Raises:
        DataError: the file is empty.
    """
    options = options or CsvOptions()
    return list(options.column_names) if options.column_names else _header(path, options)


def inspect_csv(path: str, options: CsvOptions | None = None) -> CsvFacts:
    """Returns the schema that every row fits and the number of rows; reads the whole file.

    Raises:
        DataError: a row with more or fewer values than the header, a value that is not of its column's declared type, or
            a file without a header.
        ConfigError: a declared column that the file does not have.
    """
    options = options or CsvOptions()
    names = csv_columns(path, options)
    absent = [name for name in options.column_types if name not in names]
    if absent:
        raise ConfigError(f"type of column {absent[0]!r}: {path} has no such column; it has {', '.join(names)}")
    columns = [_Column(path, name, options.column_types.get(name)) for name in names]
    rows = 0
    for batch in _read(path, options, None):
        for column, values in zip(columns, batch.columns):
            column.add(values, rows)
        rows += batch.num_rows
    odd = tuple(cell for column in columns if (cell := column.odd_cell()) is not None)
    return CsvFacts(schema=pa.schema([column.field(rows) for column in columns]), num_records=rows, odd_cells=odd)


class _Column:
    """What one pass learns about a column: the first type of the ladder that all values fit, or that they fit the declared one."""

    def __init__(self, path: str, name: str, declared: str | None) -> None:
        self._path, self._name, self._declared = path, name, declared
        self._rung = self._nulls = self._values = 0
        self._watch: TextWatch | None = None

    def add(self, values: pa.Array, first_record: int) -> None:
        if self._declared:
            self._check(values, first_record)
        elif self._rung < 2:
            while self._rung < 2 and not _fits(values, _LADDER[self._rung]):
                self._rung += 1
            if self._rung == 2:
                self._watch = TextWatch(self._path, self._name, self._values)
        if self._watch is not None and not self._watch.add(values, first_record):
            self._watch = None
        self._nulls += values.null_count
        self._values += len(values) - values.null_count

    def field(self, rows: int) -> pa.Field:
        inferred = pa.string() if self._nulls == rows else _LADDER[self._rung]
        return pa.field(self._name, _DECLARED.get(self._declared or "", inferred), nullable=bool(self._nulls))

    def odd_cell(self) -> OddCell | None:
        return self._watch.result() if self._watch is not None else None

    def _check(self, values: pa.Array, first_record: int) -> None:
        index = first_misfit(values, _DECLARED[self._declared or ""])
        if index is not None:
            raise DataError(
                f"column {self._name!r} holds {shown(values[index].as_py())} here; its declared type is {self._declared}",
                path=self._path,
                record=first_record + index,
            )


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
    names = csv_columns(path, options)
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
                    block_size=_BLOCK_BYTES,
                    column_names=list(options.column_names or ()) or None,
                    use_threads=False,
                    encoding="utf8" if is_utf8(options.encoding) else options.encoding,
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
        message = str(error).split("\n")[0][:300]
        raise DataError(message + (_ADVICE if "invalid UTF8" in message else ""), path=path) from error
    except UnicodeDecodeError as error:
        raise _not_decodable(path, options, error.reason) from error


def _not_decodable(path: str, options: CsvOptions, reason: str) -> DataError:
    # Offsets of a decoder count from where its last piece began, which nobody knows here.
    what = f"is not text of encoding {options.encoding!r}: {reason}"
    return DataError(what + (_ADVICE if is_utf8(options.encoding) else ""), path=path)


def _delimiter(path: str, options: CsvOptions) -> str:
    return options.delimiter or ("\t" if ".tsv" in path.lower() else ",")


def _header(path: str, options: CsvOptions) -> list[str]:
    import csv

    utf8 = is_utf8(options.encoding)
    try:
        with _open(path) as file:
            # The decoder is ahead of the header: what UTF-8 does not know matters here only where the header holds it.
            errors = "surrogateescape" if utf8 else "strict"
            text = io.TextIOWrapper(file, "utf-8-sig" if utf8 else options.encoding, errors=errors, newline="")
            first = next(csv.reader(text, delimiter=_delimiter(path, options)), None)
        for name in first or ():
            name.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError as error:
        raise _not_decodable(path, options, error.reason) from error
    except csv.Error as error:
        if "NUL" in str(error):  # text of two bytes a letter; Python 3.10 stops there before the letters are looked at
            raise _not_decodable(path, options, str(error)) from error
        raise DataError(f"begins with no row of column names: {error}", path=path, record=0, offset_bytes=0) from error
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
