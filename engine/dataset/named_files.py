"""What the user names: a file, a directory or a glob, and whether it names a given file."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence

from engine.formats.partitions import levels_to
from engine.storage import uris as _uris
from engine.storage.glob_patterns import glob_regex

__all__ = ["NamedFiles", "levels_of", "named", "path_key", "warn_of_links", "warn_of_splits"]

_LOG = logging.getLogger("fullpass.engine")
_SPLIT_NAMES = (
    "train|training|test|testing|validation|valid|val|eval|dev"  # as TFDS and Hugging Face name them, and Kaggle
)
_SPLIT = re.compile(rf"(?:^|[-_.])({_SPLIT_NAMES})(?=[-_.])")
_SPLIT_DIRECTORY = re.compile(_SPLIT_NAMES)


class NamedFiles:
    """One path that the user gave: a file, a directory or a glob."""

    def __init__(self, path: str, is_file: bool) -> None:
        remote = _uris.is_remote(path)
        self.path = path if remote else _uris.local_text(path)
        self._pattern: re.Pattern[str] | None = None
        self.root = ""
        self.is_file = is_file
        self.key = path_key(self.path)
        self.is_directory = False
        if self.is_file:
            return
        magic = re.search(r"[*?\[]", _uris.split_query(self.path)[0] if remote else self.path)
        self.is_directory = magic is None if remote else os.path.isdir(self.path)
        if self.is_directory:
            self.root = self.key
            return
        start = magic.start() if magic else len(self.path)
        self.root = path_key(self.path[: self.path.rfind("/", 0, start)] if "/" in self.path[:start] else ".")
        self._pattern = glob_regex(self.key)

    def names(self, key: str) -> bool:
        """Returns whether what was given names a file, were it there: a directory all below it, a glob what it matches."""
        if self.is_file:
            return key == self.key
        if self._pattern is None:
            return key.startswith(self.root.rstrip("/") + "/")
        parts = key.split("/")
        return any(self._pattern.fullmatch("/".join(parts[:end])) for end in range(1, len(parts) + 1))


def named(given: Iterable[str], names: Iterable[str]) -> list[NamedFiles]:
    """Returns what the user gave, of which these files were found."""
    files = set(names)
    return [NamedFiles(path, _uris.local_text(path) in files) for path in given]


def levels_of(names: Sequence[str], wanted: Sequence[NamedFiles]) -> dict[str, int]:
    """Returns, of files with keys above a directory that is none, how many directories lie below what the user gave.

    Args:
        names: files, as they are opened.
        wanted: what the user gave: directories and globs, or files, whose root is the directory that all of those lie in.
    """
    roots = {one.root for one in wanted if one.root}
    files = [one.key for one in wanted if one.is_file]
    if len(files) > 1 and any("=" in key for key in files):
        roots.add("/".join(os.path.commonprefix([key.split("/")[:-1] for key in files])))
    found = {}
    for name in names:
        if name.count("=") and name.count("/") > 1:
            key = path_key(name)
            levels = max((levels_to(key, root) or 0 for root in roots), default=0)
            if levels:
                found[name] = levels
    return found


def path_key(path: str) -> str:
    """One spelling of a path, however it was written: what paths are compared by."""
    if _uris.is_remote(path):
        scheme, _, rest = _uris.split_query(path)[0].partition("://")
        return f"{scheme}://{re.sub('/+', '/', rest).rstrip('/')}"
    return os.path.abspath(_uris.local_text(path))


def warn_of_splits(names: list[str], wanted: list[NamedFiles]) -> None:
    """Warns of files of several splits: a directory of TFDS or Hugging Face has those of all, which are one data set here."""
    for one in wanted:
        if not one.is_directory:
            continue
        below = one.root.rstrip("/") + "/"
        found = (_split_of(key.removeprefix(below)) for name in names if one.names(key := path_key(name)))
        splits = sorted({split for split in found if split})
        if len(splits) > 1:
            _LOG.warning(
                "%s holds files of the splits %s, and all are read: name one by its directory or a glob such as '*%s*'",
                one.path,
                ", ".join(splits),
                splits[-1],
            )


def _split_of(name: str) -> str | None:
    """The split that a file's name says, or that of a directory which it lies in."""
    *directories, file = name.split("/")
    for directory in directories:
        if _SPLIT_DIRECTORY.fullmatch(directory):
            return directory
    match = _SPLIT.search(file)
    return match[1] if match else None


def warn_of_links(names: Iterable[str]) -> None:
    """Warns of links to one file: it is read once for each, since stores of equal files keep them so, too."""
    seen: dict[tuple[int, int], str] = {}
    for name in names:
        if _uris.is_remote(name):
            continue
        try:
            status = os.stat(name)
        except OSError:  # whoever reads it says so
            continue
        first = seen.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            _LOG.warning(
                "%s and %s are links to one file: its records are read once for each of such names", first, name
            )
            return
