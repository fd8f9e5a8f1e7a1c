"""What an output directory may replace: a former result, never the input nor somebody's own files."""

from __future__ import annotations

import os
from collections.abc import Iterable

from engine.core.errors import ConfigError
from engine.storage import paths as _paths

__all__ = ["MANIFEST_NAME", "check_outside", "check_replaceable"]

# A directory that holds a file of this name is a data set that we wrote.
MANIFEST_NAME = "_fullpass_manifest.json"


def check_outside(out: str, given: Iterable[str | os.PathLike[str]]) -> None:
    """Checks that a directory to write lies in none of the directories that are read whole: next time they would hold both.

    Args:
        out: directory that will be written.
        given: files, directories and globs that are read.

    Raises:
        ConfigError: it lies in one.
    """
    if _paths.is_remote(out):
        return
    place = _paths.local_path(out).resolve()
    for path in [os.fspath(each) for each in given]:
        source = _paths.local_path(path)
        if not _paths.is_remote(path) and source.is_dir() and source.resolve() in place.parents:
            raise ConfigError(f"{out} lies in {path}, which is read whole: give a directory outside of it")


def check_replaceable(out: str, sources: Iterable[str], mark: str = MANIFEST_NAME) -> None:
    """Checks, before any work is done, that a directory can be replaced without loss.

    Args:
        out: directory that will be written; an object store's is never deleted, so nothing is asked of it.
        sources: files that are read.
        mark: a name in it, or in a directory of it, that shows that it is a former result.

    Raises:
        ConfigError: `out` is a file, holds a source, or holds files that are no former result.
    """
    if _paths.is_remote(out):
        return
    path = _paths.local_path(out)
    if not path.exists():
        return
    if not path.is_dir():
        raise ConfigError(f"{out} is a file; give a directory to write")
    place = path.resolve()
    for source in sources:
        if not _paths.is_remote(source) and _paths.local_path(source).resolve().is_relative_to(place):
            raise ConfigError(
                f"{out} holds {source}, which is read: writing it anew would delete that; give another directory"
            )
    found = sorted(entry.name for entry in path.iterdir())
    if found and not (path / mark).exists() and not any(path.glob(f"*/{mark}")):
        raise ConfigError(
            f"{out} holds {found[0]!r}{' and more' if len(found) > 1 else ''}, and is no former result of this (which would have "
            f"{mark}): give a new directory, or delete this one"
        )
