"""Which kind of input files are, and one source of them: CSV, Parquet or TFRecord."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.dataset.dataset import Dataset
from engine.dataset.named_files import levels_of, named
from engine.dataset.sharding.dataset_source import dataset_source
from engine.dataset.sharding.source import Source, SourcePart
from engine.formats.beginnings import holds_nothing, unpacked_head
from engine.formats.csv.options import CsvOptions
from engine.formats.csv.text_stream import is_csv
from engine.formats.partition_filters import Filter, keep_files
from engine.formats.registry import FORMATS
from engine.formats.tfrecord.stream import HEAD_BYTES, header_holds
from engine.ingestion.csv_source import open_csv
from engine.schema.feature_spec import schema_from_feature_spec
from engine.schema.schema_proto import as_feature_spec
from engine.storage import paths as _paths
from engine.storage.pipes import PipedPath, is_pipe, spooled_pipe

__all__ = ["INPUT_FORMATS", "are_csv_files", "is_csv_file", "open_source", "read_source"]

INPUT_FORMATS = ("csv", *FORMATS)
_OPEN_FILE = re.compile(r"/proc/self/fd/\d+")
_PART_FILE = re.compile(r"part-[\w-]*(\.c\d+)?(\.gz)?")  # what Spark and Hadoop call a file of no telling name


def open_source(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    feature_spec: Mapping[str, Any] | pa.Schema | str | os.PathLike[str] | None = None,
    csv_options: CsvOptions | None = None,
    *,
    input_format: str | None = None,
    filters: Sequence[Filter] = (),
    spool_directory: str | None = None,
) -> Source:
    """Opens CSV (plain, gzip, bzip2, Zstandard, xz, zip), Parquet or TFRecord files, all of one kind.

    CSV columns become what `csv_options.column_types` declares, else int64, double or string, whichever all values of all
    files fit; a first pass finds out.

    Args:
        paths: files, directories, globs or pipes.
        feature_spec: TensorFlow feature spec or Arrow schema of the columns, a Schema of TensorFlow Metadata or its path; None
            infers it.
        csv_options: how CSV is written.
        input_format: "csv" or a name in `engine.formats.registry.FORMATS`, whatever the files are called; None tells by name and
            content.
        filters: on the keys of the files' directories, as `Dataset.open` takes them.
        spool_directory: where parsed CSV is kept between the passes, if it is much; None: where temporary files are.

    Raises:
        DataError: no file, mixed kinds, CSV files whose columns differ, or a value that is not of the declared type.
        ConfigError: options of CSV for files that are not CSV, or a declared type of a column that is not there.
    """
    if input_format is not None and input_format not in INPUT_FORMATS:
        raise ConfigError(f"input_format is {input_format!r}; it takes {', '.join(map(repr, INPUT_FORMATS))}")
    given = paths if isinstance(paths, str | os.PathLike) else list(paths)
    everything = _names(given, input_format, spool_directory)
    chosen = [os.fspath(path) for path in ([given] if isinstance(given, str | os.PathLike) else given)]
    levels = levels_of(everything, named(chosen, everything))
    names = keep_files(everything, filters, levels) if filters else everything
    told = {name: kind for name in names if (kind := _kind(name, input_format)) is not None}
    kinds = list(told.values()) or [True]
    if len(set(kinds)) > 1:
        names = list(told)
        other = names[kinds.index(not kinds[0])]
        raise DataError(
            f"{names[0]} and this file are of different kinds; ingest them one after the other, or say input_format='csv' if both "
            "are text of rows",
            path=other,
        )
    if not kinds[0]:
        pipes = [name for name in names if isinstance(name, PipedPath)]
        if pipes:
            return _from_pipes(names, pipes, feature_spec, csv_options, input_format)
        dataset = Dataset.open(given, feature_spec, filters=filters)
        _check_kind(dataset, names[0], csv_options, input_format)
        return dataset_source(dataset)
    schema = as_feature_spec(feature_spec)
    if schema is not None and not isinstance(schema, pa.Schema):
        schema = schema_from_feature_spec(schema)
    return open_csv(names, csv_options or CsvOptions(), schema, spool_directory, everything, levels)


def _check_kind(dataset: Dataset, name: str, csv_options: CsvOptions | None, input_format: str | None) -> None:
    odd = csv_options.differing() if csv_options is not None else []
    if odd:
        raise ConfigError(f"{odd[0]} is for CSV, and {name} is {dataset.format}; leave it out")
    if input_format not in (None, dataset.format):
        raise DataError(f"is {dataset.format}, and input_format says {input_format}", path=name)


def _from_pipes(
    names: list[str],
    pipes: list[PipedPath],
    feature_spec: Any,
    csv_options: CsvOptions | None,
    input_format: str | None,
) -> Source:
    """The source of what came through pipes, and of files beside them, which are called what the user called them."""

    spelled = {pipe.place: pipe for pipe in pipes}  # whoever reads keeps the pipes, and so their places, alive

    def called(text: str) -> str:
        return _OPEN_FILE.sub(lambda place: spelled.get(place[0], place[0]), text)

    @contextlib.contextmanager
    def one_name() -> Iterator[None]:
        try:
            yield
        except DataError as error:
            error.message, error.path = called(error.message), error.path and called(error.path)
            raise

    with one_name():
        paths = [name.place if isinstance(name, PipedPath) else name for name in names]
        dataset = Dataset.open(paths, feature_spec)
        _check_kind(dataset, str(names[0]), csv_options, input_format)
        opened = dataset_source(dataset)

    def reads(part: SourcePart) -> Callable[[], Iterator[pa.RecordBatch]]:
        def read() -> Iterator[pa.RecordBatch]:
            with one_name():
                yield from part.read()

        return read

    def read_all(batch_rows: int) -> Iterator[pa.RecordBatch]:
        with one_name():
            yield from opened.batches(batch_rows)

    parts = [SourcePart(path=called(part.path), records=part.records, read=reads(part)) for part in opened.parts]
    paths = [called(path) for path in opened.paths]
    return Source(opened.schema, opened.num_records, paths, read_all, opened.notes, parts)


def read_source(paths: Any, batch_rows: int = 65536, **options: Any) -> Iterator[pa.RecordBatch]:
    """Yields the records of CSV, Parquet or TFRecord files: `open_source(paths, **options).batches(batch_rows)`."""
    return open_source(paths, **options).batches(batch_rows)


def _names(given: Any, input_format: str | None, spool_directory: str | None) -> list[str]:
    names: list[str] = []
    for path in [given] if isinstance(given, str | os.PathLike) else given:
        if not is_pipe(os.fspath(path)):
            names += _paths.expand(path)
            continue
        names.append(spooled_pipe(os.fspath(path), spool_directory))
    if not names:
        raise DataError("no input path was given")
    return list(dict.fromkeys(names))


def _kind(path: str, input_format: str | None) -> bool | None:
    """Whether a file is CSV; None where it is a pipe or part file that is empty, or packs nothing: it is what the others are."""
    if input_format is None and (isinstance(path, PipedPath) or _PART_FILE.fullmatch(path.rsplit("/", 1)[-1])):
        with contextlib.closing(path.open() if isinstance(path, PipedPath) else _paths.open_input(path)) as file:
            if holds_nothing(file.read(HEAD_BYTES) or b""):
                return None
    return is_csv_file(path, input_format)


def are_csv_files(paths: Iterable[str], input_format: str | None = None) -> bool:
    """Returns whether files of one kind are read as CSV: the first of them tells that is not an empty part file.

    Args:
        paths: files or URIs.
        input_format: what the user says they are, or None.
    """
    return next((kind for path in paths if (kind := _kind(path, input_format)) is not None), True)


def is_csv_file(path: str, input_format: str | None = None) -> bool:
    """Returns whether a file is read as CSV: as the user says, else by its name, else by what is in it.

    Args:
        path: file or URI.
        input_format: what the user says it is, or None.
    """
    if input_format is not None:
        return input_format == "csv"
    if isinstance(path, PipedPath):
        return not _is_of_a_format(path.open().read(HEAD_BYTES) or b"")
    # Nothing but CSV is read out of a zip archive, whatever it is called.
    if is_csv(path) or path.lower().endswith(".zip"):
        return True
    if not _PART_FILE.fullmatch(path.rsplit("/", 1)[-1]):
        return False
    with _paths.open_input(path) as file:
        head = file.read(HEAD_BYTES) or b""
    return bool(head) and b"\0" not in unpacked_head(head) and not _is_of_a_format(head)


def _is_of_a_format(head: bytes) -> bool:
    """Whether a file that begins so is of one of the formats that `Dataset` reads."""
    inner = unpacked_head(head)
    if inner is not head:  # gzip: TFRecord's own check takes all of it for TFRecord
        return header_holds(inner) or FORMATS["jsonl"].matches(head)
    return header_holds(head) or any(module.matches(head) for module in FORMATS.values())
