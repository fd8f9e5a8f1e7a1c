"""One source of input files of one kind: CSV, Parquet, TFRecord and the other formats, from files, URIs and pipes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.dataset.dataset import Dataset
from engine.dataset.named_files import levels_of, named, warn_of_links, warn_of_splits
from engine.dataset.sharding.dataset_source import dataset_source
from engine.dataset.sharding.source import Source, SourcePart
from engine.formats.csv.options import CsvOptions
from engine.formats.partition_filters import Filter, keep_files
from engine.ingestion.csv_source import open_csv
from engine.ingestion.file_kind import INPUT_FORMATS, kind_of_file
from engine.schema.feature_spec import schema_from_feature_spec
from engine.schema.schema_proto import as_feature_spec
from engine.storage import paths as _paths
from engine.storage.pipes import PipedPath, is_pipe, spooled_pipe

__all__ = ["open_source", "read_source"]

_OPEN_FILE = re.compile(r"/proc/self/fd/\d+")


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
    chosen = [os.fspath(path) for path in ([given] if isinstance(given, str | os.PathLike) else given)]
    everything = _names(chosen, spool_directory)
    wanted = named(chosen, everything)
    levels = levels_of(everything, wanted)
    names = keep_files(everything, filters, levels) if filters else everything
    told = {name: kind for name in names if (kind := kind_of_file(name, input_format)) is not None}
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
    files = [name for name in names if not isinstance(name, PipedPath)]
    warn_of_links(files)
    warn_of_splits(files, wanted)
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


def _names(given: list[str], spool_directory: str | None) -> list[str]:
    several = sum(not is_pipe(path) for path in given) > 1
    names: dict[str, str] = {}  # by where each lies: of one file in two spellings the first
    places: dict[str, str] = {}
    for path in given:
        piped = is_pipe(path)
        for name in [spooled_pipe(path, spool_directory)] if piped else _paths.expand(path):
            names.setdefault(_paths.place_of(name, places) if several and not piped else name, name)
    if not names:
        raise DataError("no input path was given")
    return list(names.values())
