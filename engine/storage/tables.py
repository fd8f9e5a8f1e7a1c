"""Directories of Delta, Hudi and Iceberg: their files are not their records, since deleted and replaced ones stay beside the others."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable

from engine.core.errors import DataError

__all__ = ["refuse_tables", "table_above"]

_READERS = {
    "Delta": "deltalake.DeltaTable(...).to_pyarrow_dataset()",
    "Hudi": "Spark",
    "Iceberg": "pyiceberg's table.scan().to_arrow()",
}
_DIRECTORIES = {"_delta_log": "Delta", ".hoodie": "Hudi"}
_ICEBERG = "metadata"  # the directory, and what Iceberg calls its files there: other tools have files of metadata, too
_ICEBERG_FILE = re.compile(r"(v\d+|\d{5,}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(\.gz)?\.metadata\.json(\.gz)?")


def refuse_tables(paths: Iterable[str]) -> None:
    """Checks that no path is of what says which files of a table count.

    Args:
        paths: of files and directories, or URIs.

    Raises:
        DataError: one is, with the directory that it lies in.
    """
    for path in paths:
        if not any(mark in path for mark in (*_DIRECTORIES, ".metadata.json")):  # there can be ten thousand
            continue
        directories = path.split("/")
        for place, name in enumerate(directories):
            kind = _DIRECTORIES.get(name)
            if name == _ICEBERG and place == len(directories) - 2 and _ICEBERG_FILE.fullmatch(directories[-1]):
                kind = "Iceberg"
            if kind is not None:
                raise DataError(
                    f"is a table of {kind}: its own metadata alone say which of the files here count, and which of their records are "
                    f"deleted. Read it with {_READERS[kind]} and write Parquet, or name the files that are meant",
                    path="/".join(directories[:place]),
                )


def table_above(directory: str) -> str | None:
    """Returns which kind of table a local directory of files is of, or None. Iceberg's files lie in its directory `data`."""
    for name, kind in _DIRECTORIES.items():
        if os.path.isdir(os.path.join(directory, name)):
            return kind
    above, name = os.path.split(os.path.abspath(directory))
    if name == "data":
        with contextlib.suppress(OSError):
            if any(_ICEBERG_FILE.fullmatch(found) for found in os.listdir(os.path.join(above, _ICEBERG))):
                return "Iceberg"
    return None
