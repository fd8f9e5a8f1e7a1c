"""The files that a pipeline begins with: where they lie and what identifies them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError, DataError

__all__ = ["csv_columns_of", "files_of_parts", "fingerprint", "open_input", "source_path"]


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


def open_input(
    path: str | Sequence[str],
    csv_options: Any = None,
    input_format: str | None = None,
    spool_directory: str | None = None,
) -> Any:
    """Returns the `engine.ingestion.source.Source` of CSV, Parquet or TFRecord files.

    Args:
        path: as the pipeline gives it; or several.
        csv_options: how CSV files are written, and declared types of their columns.
        input_format: "csv", "parquet" or "tfrecord"; None finds out.
        spool_directory: where parsed CSV is kept, if it is much.

    Raises:
        DataError: the file is missing, empty or damaged, or a value is not of the declared type.
    """
    from engine.ingestion.open_source import open_source

    paths = source_path(path) if isinstance(path, str) else [source_path(each) for each in path]
    return open_source(paths, csv_options=csv_options, input_format=input_format, spool_directory=spool_directory)


def csv_columns_of(path: str | Sequence[str], csv_options: Any, input_format: str | None = None) -> list[str] | None:
    """Returns the columns of CSV files, or None where the files are of another kind.

    Args:
        path: as the pipeline gives it; or several.
        csv_options: how CSV files are written.
        input_format: "csv", "parquet" or "tfrecord"; None finds out.

    Raises:
        DataError: the file is missing or empty.
    """
    from engine.formats.csv.reader import csv_columns
    from engine.ingestion.open_source import is_csv_file
    from engine.storage import paths as uris

    first = uris.expand(source_path(path if isinstance(path, str) else path[0]))[0]
    return csv_columns(first, csv_options) if is_csv_file(first, input_format) else None


def files_of_parts(parts: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the files of each part, from their paths as the pipeline gives them."""
    from engine.storage import paths as uris

    return {name: uris.expand(source_path(path)) for name, path in parts.items()}
