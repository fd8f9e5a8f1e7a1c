"""Directories behind URIs (s3://, gs://, hdfs://): copied from and to local ones, listed, deleted.

TensorFlow itself opens few of them, so checkpoints, events and models are made locally and copied, through `engine.storage.remote`:
each object is sent whole, with retries. An object store has no rename of directories: the file that says "all of it is
there" is sent last and deleted first.
"""

from __future__ import annotations

import functools
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError, DataError
from engine.storage.uris import is_remote, local_path

__all__ = [
    "NotText",
    "check_uri",
    "delete_file",
    "delete_tree",
    "download",
    "for_tensorflow",
    "is_local",
    "list_tree",
    "local_path",
    "read_text",
    "upload_tree",
    "write_text",
]


class NotText(DataError):
    """A file that should be text is not UTF-8: damaged, or another file."""


def is_local(path: str) -> bool:
    """Returns whether a path is on a file system of this machine, where renames are atomic."""
    return not is_remote(path)


def check_uri(what: str, uri: str) -> None:
    """Refuses URIs to which no name can be added.

    Raises:
        ConfigError: the URI has a query.
    """
    if is_remote(uri) and "?" in uri:
        raise ConfigError(
            f"{what}={uri!r}: a directory has no query; name the server of s3:// by AWS_ENDPOINT_URL, its region by AWS_DEFAULT_REGION"
        )


def list_tree(directory: str) -> list[str]:
    """Returns the names of all files below a directory, relative to it, sorted; none where it does not exist.

    Raises:
        DataError: the store did not answer or refuses the keys.
    """
    if is_local(directory):
        base = local_path(directory)
        return sorted(p.relative_to(base).as_posix() for p in base.rglob("*") if p.is_file())
    from engine.storage.remote import list_below

    path, found = list_below(directory)
    prefix = path.rstrip("/") + "/"
    return sorted(info.path.removeprefix(prefix) for info in found if info.path.startswith(prefix))


def read_text(path: str) -> str | None:
    """Returns the text of a file, None where there is none.

    Raises:
        DataError: the store did not answer or refuses the keys.
        NotText: it is not UTF-8.
    """
    data = _read_bytes(path)
    try:
        return None if data is None else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotText("is not UTF-8", path=path, offset_bytes=error.start) from None


def _read_bytes(path: str) -> bytes | None:
    if is_local(path):
        try:
            return local_path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
    from engine.storage.remote import read_whole

    return read_whole(path)


def write_text(path: str, text: str) -> None:
    """Writes a small file behind a URI, in the place of one that is there.

    Raises:
        DataError: the store did not take it.
    """
    from engine.storage.remote import open_output

    with open_output(path) as file:
        file.write(text.encode("utf-8"))


def delete_file(path: str) -> None:
    """Deletes a file behind a URI.

    Raises:
        DataError: the store did not answer.
    """
    from engine.storage.remote import current_options, resolve
    from engine.storage.remote.retry import with_retries

    filesystem, name = resolve(path)
    with_retries(functools.partial(filesystem.delete_file, name), what="delete it", uri=path, options=current_options())


def download(directory: str, names: Iterable[str], target: Path) -> None:
    """Copies files of a remote directory to a local one.

    Raises:
        DataError: a file is missing, or the store did not answer.
    """
    from engine.storage.remote import open_input

    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with open_input(posixpath.join(directory, name)) as source, open(target / name, "wb") as file:
            shutil.copyfileobj(source, file, 8 << 20)


@functools.lru_cache(maxsize=8)
def _copy_of(directory: str, files: tuple[tuple[Any, ...], ...]) -> tempfile.TemporaryDirectory[str]:
    copy = tempfile.TemporaryDirectory(prefix="fullpass-copy-")
    download(directory, [name for name, *_ in files], Path(copy.name))
    return copy


def for_tensorflow(directory: str | os.PathLike[str]) -> str:
    """Returns a path of a directory that TensorFlow can open: itself, or a copy here that lives as long as this process.

    Raises:
        ConfigError: nothing is there.
        DataError: the store did not answer.
    """
    import tensorflow as tf

    path = os.fspath(directory)
    if is_local(path):
        return str(local_path(path))
    if path.split("://", 1)[0] in tf.io.gfile.get_registered_schemes():
        return path
    from engine.storage.remote import marks_below

    files = marks_below(path)
    if not files:
        raise ConfigError(f"{path}: nothing is there")
    return _copy_of(path.rstrip("/"), files).name  # one that was written anew since is copied anew


def upload_tree(source: Path, directory: str, last: str | None = None) -> None:
    """Copies all files below a local directory to a remote one; the one named `last` after all others.

    Raises:
        DataError: the store did not take a file; those before it are there.
    """
    from engine.storage.remote import open_output

    for name in sorted(list_tree(str(source)), key=lambda name: (name == last, name)):
        with open(source / name, "rb") as file, open_output(posixpath.join(directory, name)) as out:
            shutil.copyfileobj(file, out, 8 << 20)


def delete_tree(directory: str, first: str | None = None) -> None:
    """Deletes a directory with all files below it; the one named `first` before all others.

    Raises:
        DataError: the store did not answer.
    """
    if is_local(directory):
        base = local_path(directory)
        if first is not None:
            (base / first).unlink(missing_ok=True)
        shutil.rmtree(base)
        return
    for name in sorted(list_tree(directory), key=lambda name: (name != first, name)):
        delete_file(posixpath.join(directory, name))
