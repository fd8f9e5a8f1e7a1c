"""Which files of a directory are data: links followed, hidden names and what other tools lay beside data left out."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections.abc import Iterator

from engine.core.errors import DataError
from engine.storage.tables import refuse_tables

__all__ = ["broken_link", "is_data_name", "walk_data"]

_LOG = logging.getLogger("fullpass.engine")

# What TFDS, Hugging Face, Spark, DVC and people lay beside shards. Named itself, each is read.
_BESIDE = (
    "readme",
    "readme.*",
    "license",
    "license.*",
    "*.md",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "features.json",
    "stats.json",
    "*.labels.txt",
    "schema.pbtxt",
    "*.crc",
    "*.inprogress",
    "*.sha256",
    "*.md5",
    "md5sums",
    "sha256sums",
    "*.dvc",
)


def is_data_name(name: str) -> bool:
    """Returns whether a file of this name in a directory counts as data."""
    lower = name.lower()
    return not name.startswith(("_", ".")) and not any(fnmatch.fnmatchcase(lower, mark) for mark in _BESIDE)


def broken_link(path: str) -> str | None:
    """Returns what is wrong with a link to nothing; None of any other path."""
    if os.path.islink(path) and not os.path.exists(path):
        return f"is a link to {os.readlink(path)}, which is not there"
    return None


def walk_data(directory: str, broken_links: bool = False) -> list[str]:
    """Returns the data files below a directory, sorted; directories that are links are followed.

    A link to a directory that it lies in is left out, with a line in the log: what it leads to is read already.

    Args:
        directory: where.
        broken_links: return links to nothing, too, for whoever reports them.

    Raises:
        DataError: a link to nothing, a directory that cannot be listed, or a table of Delta, Hudi or Iceberg.
    """
    return sorted(_below(directory, (), broken_links))


def _below(directory: str, above: tuple[tuple[int, int], ...], broken_links: bool) -> Iterator[str]:
    try:
        status = os.stat(directory)
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot be listed: {error.strerror}", path=directory) from error
    refuse_tables(entry.path for entry in entries)
    here = (status.st_dev, status.st_ino)
    if here in above:
        _LOG.warning("%s leads to a directory that it lies in, and is not followed", directory)
        return
    for entry in entries:
        path = os.path.join(directory, entry.name)
        if entry.is_dir():
            if not entry.name.startswith(("_", ".")):
                yield from _below(path, (*above, here), broken_links)
        elif is_data_name(entry.name):
            if not broken_links and entry.is_symlink() and (broken := broken_link(path)):
                raise DataError(broken, path=path)
            yield path
