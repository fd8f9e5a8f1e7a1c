"""The files that a pipeline begins with: where they lie, what identifies them, and their rows as Arrow batches."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from engine.errors import ConfigError, DataError

__all__ = ["fingerprint", "read_source", "source_path"]

_CSV_BLOCK_BYTES = 16 << 20


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
    from engine import paths as uris

    found = source_path(path)
    digest = hashlib.sha256()
    try:
        names = [found] if _is_csv(found) else uris.expand(found)
        for name in names:
            digest.update(repr((name, *uris.stat(name))).encode())
    except (FileNotFoundError, DataError) as error:
        text = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(f"{path}: {text.removeprefix(f'{path}: ')}") from None
    return digest.hexdigest()


def read_source(path: str) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a CSV file (plain, .gz or .zip), or of a Parquet or TFRecord data set, in order.

    Raises:
        DataError: the file is missing, empty or damaged, or a value is not of its column's type.
    """
    found = source_path(path)
    if not _is_csv(found):
        from engine import Dataset

        yield from Dataset.open(found).read_batches()
        return
    try:
        with _open_csv(found) as file:
            options = pacsv.ReadOptions(block_size=_CSV_BLOCK_BYTES)
            convert = pacsv.ConvertOptions(strings_can_be_null=True)
            with pacsv.open_csv(file, read_options=options, convert_options=convert) as reader:
                yield from reader
    except FileNotFoundError:
        raise DataError("no such file", path=found) from None
    except zipfile.BadZipFile as error:
        raise DataError(f"not a whole zip file: {error}", path=found) from None
    except pa.ArrowInvalid as error:
        text = "is empty; expected a line of column names" if "Empty CSV" in str(error) else f"not CSV: {error}"
        raise DataError(text, path=found) from None


def _is_csv(path: str) -> bool:
    return path.lower().removesuffix(".zip").removesuffix(".gz").endswith(".csv")


def _open_csv(path: str) -> Any:
    if not path.lower().endswith(".zip"):
        return pa.input_stream(path, compression="detect")
    return pa.PythonFile(_open_zip(path), mode="r")


def _open_zip(path: str) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise DataError(f"holds {len(names)} files; a zipped source holds one CSV", path=path)
    return archive.open(names[0])
