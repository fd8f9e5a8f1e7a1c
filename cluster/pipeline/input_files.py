"""The files that a pipeline begins with: where they lie and what identifies them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.pipeline.source_config import SourceConfig
from engine.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from engine import Dataset

__all__ = ["csv_columns_of", "files_of", "fingerprint", "fingerprints", "open_dataset", "open_input", "source_path"]


def source_path(path: str) -> str:
    """Returns the path itself, or for `package:NAME/FILE` that of a data file of an installed package.

    Raises:
        ConfigError: the package is not installed or has no such file.
    """
    if not path.startswith("package:"):
        return path
    name, _, inner = path.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(name)  # finds without importing: a data package may drag much along
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{path}: the package {name} is not installed; `pip install {name}`")
    file = Path(spec.submodule_search_locations[0]) / inner
    if not file.is_file():
        raise ConfigError(f"{path}: {name} has no file {inner}")
    return str(file)


def fingerprint(path: str) -> str:
    """Returns what changes when the files at the path do: a hash of their names, sizes and modification marks.

    Raises:
        ConfigError: nothing is there.
    """
    from engine.storage import paths as uris

    digest = hashlib.sha256()
    try:
        for name in uris.expand(source_path(path)):
            digest.update(repr((name, *uris.stat(name))).encode())
    except (FileNotFoundError, DataError) as error:
        text = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(f"{path}: {text.removeprefix(f'{path}: ')}") from None
    return digest.hexdigest()


def fingerprints(sources: Mapping[str, SourceConfig]) -> dict[str, str]:
    """Returns the fingerprint of each source, and of the schema that it is given.

    Raises:
        ConfigError: nothing is there.
    """
    found = {name: fingerprint(source.path) for name, source in sources.items()}
    specs = {f"schema of {name}": source.feature_spec for name, source in sources.items() if source.feature_spec}
    return {**found, **{name: fingerprint(path) for name, path in specs.items()}}


def files_of(source: SourceConfig) -> list[str]:
    """Returns the files of a source that its filters leave.

    Raises:
        DataError: no file.
        ConfigError: a filter that cannot be.
    """
    from engine.dataset.named_files import levels_of, named
    from engine.formats.partition_filters import keep_files
    from engine.storage import paths as uris

    path = source_path(source.path)
    files = uris.expand(path)
    return keep_files(files, source.filters, levels_of(files, named([path], files))) if source.filters else files


def open_dataset(source: SourceConfig) -> Dataset:
    """Returns the `engine.Dataset` of a source that is not CSV.

    Raises:
        DataError: the files are of another format than `input_format` says.
    """
    from engine import Dataset

    dataset = Dataset.open(source_path(source.path), source.feature_spec, filters=source.filters or ())
    if source.input_format not in (None, dataset.format):
        raise DataError(f"is {dataset.format}, and input_format says {source.input_format}", path=dataset.paths[0])
    return dataset


def open_input(
    source: SourceConfig,
    files: Sequence[str] | None = None,
    column_types: Mapping[str, str] | None = None,
    spool_directory: str | None = None,
) -> Any:
    """Returns the `engine.dataset.sharding.source.Source` of CSV, Parquet or TFRecord files.

    Args:
        source: with every option.
        files: in place of its path and filters.
        column_types: declared types of its columns, where it is CSV.
        spool_directory: where parsed CSV is kept, if it is much.

    Raises:
        DataError: the file is missing, empty or damaged, or a value is not of the declared type.
    """
    from engine.ingestion.file_kind import are_csv_files
    from engine.ingestion.open_source import open_source

    is_csv = are_csv_files(files or files_of(source), source.input_format)
    return open_source(
        source_path(source.path) if files is None else files,
        source.feature_spec,
        source.csv_options(column_types) if is_csv else None,
        input_format=source.input_format,
        filters=(source.filters or ()) if files is None else (),
        spool_directory=spool_directory,
    )


def csv_columns_of(source: SourceConfig, files: Sequence[str] | None = None) -> list[str] | None:
    """Returns the columns of CSV files, or None where the files are of another kind.

    Args:
        source: with every option.
        files: in place of its path and filters.

    Raises:
        DataError: a file is missing, or all are empty.
    """
    from engine.formats.csv.reader import columns_of_any
    from engine.ingestion.file_kind import are_csv_files

    names = files or files_of(source)
    return columns_of_any(names, source.csv_options()) if are_csv_files(names, source.input_format) else None
