"""Which files a user means, and opening them: local paths here, anything with `scheme://` through `engine.storage.remote`."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.core.errors import ConfigError, DataError
from engine.storage import atomic
from engine.storage.listing import broken_link, walk_data

__all__ = [
    "arrow_name",
    "change_mark",
    "common_parent",
    "exists",
    "expand",
    "is_remote",
    "join",
    "local_path",
    "local_text",
    "open_input",
    "open_output",
    "parent",
    "require_local",
    "split_query",
    "stat",
]


_FILE = re.compile(r"file:(?=/)(?://([^/]*))?", re.IGNORECASE)
# `pathlib.Path("s3://bucket/x")` is s3:/bucket/x, which would be a directory here.
_LOST_SLASH = re.compile(
    r"((?:s3|s3a|gs|gcs|hdfs|webhdfs|abfss?|az|adl|https?|ftp):)/([^/].*)?", re.IGNORECASE | re.DOTALL
)


def is_remote(path: str) -> bool:
    """Returns whether a path is a URI of another place; `file:` counts as local.

    Raises:
        ConfigError: it is a URI that lost a slash.
    """
    if ":/" not in path:
        return False
    if lost := _LOST_SLASH.fullmatch(path):
        raise ConfigError(
            f"{path!r} is a URI that lost a slash, as in a pathlib.Path: give {lost[1] + '//' + (lost[2] or '')!r} as a text, or "
            f"{'./' + path!r} for a local path"
        )
    return "://" in path and not _FILE.match(path)


def local_path(path: str | os.PathLike[str]) -> Path:
    """Returns a local path, also of a file: URI.

    Raises:
        ConfigError: the URI names a machine.
    """
    return Path(local_text(os.fspath(path)))


def local_text(path: str) -> str:
    """Returns a local path as it was written, without `file:`, `file://` or `file://localhost`.

    Raises:
        ConfigError: the URI names another machine, or a path that does not begin with /.
    """
    scheme = _FILE.match(path)
    if scheme is None:
        return path
    rest = path[scheme.end() :]
    if (scheme[1] or "localhost").lower() != "localhost" or not rest.startswith("/"):
        raise ConfigError(
            f"{path!r}: a file URI is file:///DIRECTORY/NAME, of this machine; give that, or a path without file:"
        )
    return rest


def require_local(what: str, path: str | os.PathLike[str]) -> Path:
    """Returns a local path of what cannot be behind a URI: it needs a rename or a lock, or TensorFlow opens it by itself.

    Raises:
        ConfigError: the path is a URI of another machine.
    """
    if is_remote(os.fspath(path)):
        raise ConfigError(
            f"{what} {os.fspath(path)!r} is not on this machine's file systems: give a local or mounted directory, and copy "
            "to or from the store (`aws s3 cp --recursive`, `gcloud storage cp -r`)"
        )
    return local_path(path)


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
            found.setdefault(_place(name, places) if len(given) > 1 else name, name)
    if not found:
        raise DataError("no input path was given")
    return list(found.values())


def _place(name: str, known: dict[str, str]) -> str:
    """Where a file lies: its directory without links and dots, which is looked for once, and its own name."""
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
    often enough, the old size. A remote file has none: 0.

    Raises:
        DataError: the file is not there.
    """
    if is_remote(path):
        from engine.storage import remote

        return *remote.stat(path), 0
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


def arrow_name(path: str) -> str | bytes:
    """Returns a local path as Arrow's own files take it: as bytes where it is no UTF-8, which a name may be."""
    name = str(local_path(path))
    return os.fsencode(name) if any("\udc80" <= letter <= "\udcff" for letter in name) else name


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


def split_query(uri: str) -> tuple[str, str]:
    """Returns (URI without its query, query with its mark): options such as `?region=x`; any other `?` is of a name or glob."""
    body, mark, query = uri.partition("?")
    return (body, mark + query) if mark and "=" in query else (uri, "")


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
