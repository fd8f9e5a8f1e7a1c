"""The files that a pipeline begins with: where they lie and what identifies them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError, DataError

__all__ = ["csv_columns_of", "fingerprint", "open_input", "source_path"]


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


def open_input(path: str, types: Mapping[str, str] | None = None, encoding: str = "utf-8") -> Any:
    """Returns the `engine.ingestion.source.Source` of CSV (plain, .gz, .zip), Parquet or TFRecord files.

    Args:
        path: as the pipeline gives it.
        types: declared types of CSV columns.
        encoding: of CSV files.

    Raises:
        DataError: the file is missing, empty or damaged, or a value is not of the declared type.
    """
    from engine.formats.csv.options import CsvOptions
    from engine.ingestion.open_source import open_source

    return open_source(source_path(path), csv_options=CsvOptions(column_types=types or {}, encoding=encoding))


def csv_columns_of(path: str, encoding: str = "utf-8") -> list[str] | None:
    """Returns the columns of CSV files, or None where the files are of another kind.

    Args:
        path: as the pipeline gives it.
        encoding: of CSV files.

    Raises:
        DataError: the file is missing or empty.
    """
    from engine.formats.csv.options import CsvOptions
    from engine.formats.csv.reader import csv_columns
    from engine.formats.csv.text_stream import is_csv
    from engine.storage import paths as uris

    first = uris.expand(source_path(path))[0]
    return csv_columns(first, CsvOptions(encoding=encoding)) if is_csv(first) else None
