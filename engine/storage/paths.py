"""Which files a user means, and opening them: local paths here, anything with `scheme://` through `engine.storage.remote`."""

from __future__ import annotations

import contextlib
import glob
import os
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from engine.core.errors import ConfigError, DataError
from engine.storage import atomic
from engine.storage.listing import broken_link, walk_data
from engine.storage.uris import is_remote, local_path, local_text, split_query

__all__ = [
    "change_mark",
    "common_parent",
    "exists",
    "expand",
    "join",
    "open_input",
    "open_output",
    "parent",
    "place_of",
    "stat",
]


def expand(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], broken_links: bool = False) -> list[str]:
    """Returns the data files that paths, globs and directories name, each once, in order.

    A directory stands for all files below it, links followed, except those whose name, or a directory above them, begins
    with `_` or `.`, and what other tools lay beside data (README, `dataset_info.json`, checksums).

    Args:
        paths: what the user gave.
        broken_links: return links to nothing, too, for whoever reports them.

    Raises:
        DataError: a path that does not exist or a glob that matches nothing.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found: dict[str, str] = {}  # by where it lies: `data/x` and `data/../data/x` are one
    places: dict[str, str] = {}
    for path in given:
        names = _expand_one(os.fspath(path), broken_links)
        if not names:
            raise DataError(
                "no data file is here; give a file, a directory, a glob or a list of those", path=os.fspath(path)
            )
        for name in names:
            found.setdefault(place_of(name, places) if len(given) > 1 else name, name)
    if not found:
        raise DataError("no input path was given")
    return list(found.values())


def place_of(name: str, known: dict[str, str]) -> str:
    """Returns where a file lies, however it is spelled: its directory without links and dots, and its own name.

    Args:
        name: of the file, or a URI, which stays as it is.
        known: the directories that were looked for already, by their spelling; filled.
    """
    if is_remote(name):
        return name
    directory, file = os.path.split(name)
    if directory not in known:
        known[directory] = os.path.realpath(directory)
    return os.path.join(known[directory], file)


def _expand_one(path: str, broken_links: bool = False) -> list[str]:
    if is_remote(path):
        from engine.storage import remote

        return remote.expand(path)
    path = local_text(path)
    if os.path.isdir(path):
        return walk_data(path, broken_links)
    if os.path.exists(path):  # a file, or a pipe that somebody gives
        return [path]
    if broken := broken_link(path):
        if broken_links:
            return [path]
        raise DataError(broken, path=path)
    matches = sorted(
        name for name in glob.glob(path, recursive=True) if not os.path.basename(name).startswith(("_", "."))
    )
    # A directory here that is called `~` is no home directory.
    matches = [f"./{name}" if name.startswith("~") else name for name in matches]
    return [file for name in matches for file in _expand_one(name, broken_links)]


def stat(path: str) -> tuple[int, int]:
    """Returns (size in bytes, modification time in ns) of a file.

    Raises:
        DataError: the file is not there.
    """
    return change_mark(path)[:2]


def change_mark(path: str) -> tuple[int, int, int]:
    """Returns (size in bytes, modification time in ns, time of the last change in ns) of a file: another one, another content.

    Of local files the last is the time that no program can set: `cp -p`, `rsync -t` and `tar` give new content the old time and,
    often enough, the old size. Of remote ones it is a number of the store's own mark, a digest or generation: S3 has times of whole
    seconds.

    Raises:
        DataError: the file is not there.
    """
    if is_remote(path):
        from engine.storage import remote

        info = remote.look_up(path)
        return info.size_bytes, info.modified_ns, zlib.crc32(info.mark.encode())
    try:
        status = os.stat(local_path(path))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def exists(path: str) -> bool:
    """Returns whether a file is there."""
    if is_remote(path):
        from engine.storage import remote

        return remote.exists(path)
    return local_path(path).exists()


def open_input(path: str) -> BinaryIO:
    """Opens a file for unbuffered binary reading with seek.

    Raises:
        DataError: the file cannot be opened.
    """
    if is_remote(path):
        from engine.storage import remote

        return remote.open_input(path)  # type: ignore[return-value]
    try:
        return open(local_path(path), "rb", buffering=0)  # type: ignore[return-value]
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", path=path) from error


@contextlib.contextmanager
def open_output(path: str) -> Iterator[Any]:
    """Yields a binary file to write that is at `path` whole once the block ends well, and not at all otherwise."""
    if is_remote(path):
        from engine.storage import remote

        with remote.open_output(path) as file:
            yield file
        return
    with atomic.atomic_file(local_path(path)) as temporary, open(temporary, "wb") as file:
        yield file


def parent(path: str) -> str:
    """Returns the directory part of a path or URI, with the URI's query."""
    if not is_remote(path):
        return str(local_path(path).parent)
    body, query = split_query(path)
    return body.rsplit("/", 1)[0] + query


def common_parent(paths: Iterable[str]) -> str:
    """Returns the deepest directory or URI prefix that all files lie below.

    Raises:
        ConfigError: there is none.
    """
    given = list(paths)
    parts = [parent(path).split("/") for path in given]
    shared = []
    for level in zip(*parts):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    if not shared or (is_remote("/".join(shared) + "/") and len(shared) < 3):
        raise ConfigError(
            f"the files {', '.join(map(repr, given[:3]))}{', ...' if len(given) > 3 else ''} lie in no common directory, which a manifest "
            "would lie in"
        )
    return "/".join(shared) or "/"


def join(directory: str | os.PathLike[str], name: str) -> str:
    """Returns a name inside a directory or URI prefix, with the URI's query."""
    directory = os.fspath(directory)
    if not is_remote(directory):
        return str(local_path(directory) / name)
    body, query = split_query(directory)
    return f"{body.rstrip('/')}/{name}{query}"
