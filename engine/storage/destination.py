"""Where an output may go, what it may replace, and how it becomes valid: one owner for every command that writes.

On a file system an output is written under a hidden name and renamed: it appears whole, and a former one stays until then.
An object store has no rename of directories. There a result counts by its mark, a file that is written last and deleted
first: the manifest of a data set, the saved_model.pb of a transform graph. While shards are being written a second object,
`_fullpass_unfinished`, says so: without it a directory of shards whose writer was killed would look like a smaller data set.
So on an object store a former result is gone as soon as the writing of the next one begins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.core.errors import ConfigError, DataError
from engine.machine.clock import utc_now
from engine.storage import atomic, paths, uris
from engine.storage.tree import check_uri, delete_file, list_tree, upload_tree

__all__ = ["UNFINISHED", "Destination", "check_file"]

UNFINISHED = "_fullpass_unfinished"
_READ_ONLY = ("http", "https", "ftp")


@dataclasses.dataclass(frozen=True)
class Destination:
    """A directory that a command writes, local or a URI.

    Attributes:
        out: as the user gives it: a path, file:// or another URI.
        mark: file in it by which a finished result is known; on an object store it comes last.
        in_parts: whether a finished result may be directories that hold a mark each.
    """

    out: str | os.PathLike[str]
    mark: str
    in_parts: bool = False

    @property
    def path(self) -> str:
        """The local path, or the URI without a slash at its end."""
        text = os.fspath(self.out)
        return text.rstrip("/") if uris.is_remote(text) else str(uris.local_path(text))

    @property
    def is_remote(self) -> bool:
        """Whether it is behind a URI, where there is no rename."""
        return uris.is_remote(self.path)

    def check(self, sources: Iterable[str] = (), read_whole: Iterable[str | os.PathLike[str]] = ()) -> None:
        """Checks, before any work is done, that the directory can be written, and replaced without loss.

        Args:
            sources: files that are read.
            read_whole: paths as the user gives them; a directory among them must not hold the output, since the next run
                would read both.

        Raises:
            ConfigError: the directory cannot be written; is a file; holds a source or files that are not a former result; or
                lies in a directory that is read whole.
        """
        if not self.out:
            raise ConfigError("the output is ''; give a directory to write")
        _check_outside(self.path, read_whole)
        names = self._names()
        if names is not None:
            self._check_replaceable(names, list(sources))
        if self.is_remote:
            _probe(self.path)
        else:
            _check_parent(Path(self.path))

    def _names(self) -> list[str] | None:
        """Returns the files below it; None where it does not exist."""
        if not self.is_remote:
            path = Path(self.path)
            if not path.exists():
                return None
            if not path.is_dir():
                raise ConfigError(f"{self.out} is a file; give a directory to write")
            return sorted(self._local_names(path))
        check_uri("output", self.path)
        scheme = self.path.split("://", 1)[0]
        if scheme in _READ_ONLY:
            raise ConfigError(
                f"{self.out}: {scheme}:// can only be read; give a local directory, s3://, gs:// or hdfs://"
            )
        if paths.exists(self.path):
            raise ConfigError(f"{self.out} is an object; give a prefix without one to write")
        return list_tree(self.path)

    def _check_replaceable(self, names: list[str], sources: list[str]) -> None:
        for source in sources:
            if _lies_in(source, self.path):
                raise ConfigError(
                    f"{self.out} holds {source}, which is read: writing it anew would delete that; give another directory"
                )
        there = {name.split("/")[0]: name for name in reversed(names)}
        marks = (self.mark, UNFINISHED)
        parts = {name.split("/")[0] for name in names for mark in marks if name.partition("/")[2] == mark}
        if not names or any(mark in names for mark in marks) or (self.in_parts and parts == set(there)):
            return
        first = min(there)
        more = " and more" if len(there) > 1 else ""
        raise ConfigError(
            f"{self.out} holds {first!r}{more}, and is not a former result of this (which would have {self.mark}): "
            "give a new directory, or delete this one"
        )

    def _local_names(self, path: Path) -> Iterator[str]:
        """Yields what is in a directory, and the marks in it and in its directories; never all files of a large one."""
        for entry in path.iterdir():
            yield entry.name
            if (entry / self.mark).is_file():
                yield f"{entry.name}/{self.mark}"
        if (path / self.mark).is_file():
            yield self.mark

    @contextlib.contextmanager
    def fill(self, parts: Iterable[str] = ("",)) -> Iterator[str]:
        """Yields a directory or URI into which many writers put whole files, each by `paths.open_output`.

        The mark of each part is the last file that the caller writes there. After an exception nothing is left; after a kill
        `Dataset.open` refuses what was written on an object store, and the next run replaces it.

        Args:
            parts: directories in it that become valid each by its mark; "" is the directory itself.
        """
        if not self.is_remote:
            with atomic.atomic_directory(self.path) as directory:
                yield str(directory)
            return
        flags = [paths.join(paths.join(self.path, part) if part else self.path, UNFINISHED) for part in parts]
        for flag in flags:
            with paths.open_output(flag) as file:
                file.write(f"{utc_now()} {socket.gethostname()} {os.getpid()}\n".encode())
        self._delete(keep=flags)
        try:
            yield self.path
        except BaseException:
            with contextlib.suppress(
                DataError
            ):  # the store may be what failed; the flags, deleted last, say so to readers
                self._delete(keep=flags)
                self._delete()
            raise
        self._delete_only(flags)

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Yields a local directory to fill; it becomes the output when the block ends well, and nothing does otherwise.

        For results that fit this machine's disk, made by libraries that write local files.
        """
        if not self.is_remote:
            with atomic.atomic_directory(self.path) as directory:
                yield directory
            return
        with tempfile.TemporaryDirectory(prefix="fullpass-stage-") as local:
            yield Path(local)
            self._delete()
            try:
                upload_tree(Path(local), self.path, last=self.mark)
            except BaseException:
                with contextlib.suppress(DataError):
                    self._delete()
                raise

    def _delete(self, keep: Iterable[str] = ()) -> None:
        """Deletes all below a URI but `keep`, marks first."""
        kept = {flag.removeprefix(self.path + "/") for flag in keep}
        names = [name for name in list_tree(self.path) if name not in kept]
        self._delete_only(
            paths.join(self.path, name) for name in sorted(names, key=lambda n: not n.endswith(self.mark))
        )

    @staticmethod
    def _delete_only(uris: Iterable[str]) -> None:
        for uri in uris:
            delete_file(uri)


def check_file(out: str | os.PathLike[str]) -> None:
    """Checks, before any work is done, that a file can be written: local, or an object behind a URI.

    Raises:
        ConfigError: it is a directory, or its directory or store cannot be written.
    """
    path = os.fspath(out)
    if uris.is_remote(path):
        check_uri("output", path)
        _probe(paths.parent(path))
        return
    local = uris.local_path(path)
    if local.is_dir():
        raise ConfigError(f"{path} is a directory; give the name of a file to write")
    _check_parent(local)


def _lies_in(source: str, directory: str) -> bool:
    if uris.is_remote(source) != uris.is_remote(directory):
        return False
    if uris.is_remote(source):
        return source.partition("?")[0].startswith(directory + "/")
    return uris.local_path(source).resolve().is_relative_to(Path(directory).resolve())


def _check_outside(out: str, given: Iterable[str | os.PathLike[str]]) -> None:
    for path in [os.fspath(each) for each in given]:
        base = path.rstrip("/")
        whole = uris.is_remote(path) or uris.local_path(path).is_dir()
        same = base == out or (not uris.is_remote(path) and uris.local_path(path).resolve() == Path(out).resolve())
        if whole and not same and _lies_in(out, base):
            raise ConfigError(f"{out} lies in {path}, which is read whole: give a directory outside of it")


def _check_parent(path: Path) -> None:
    """Holds the nearest directory that exists to be writable; those between are made later."""
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise ConfigError(f"{path} cannot be made: {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path} cannot be made: this user may not write to {parent}")


def _probe(uri: str) -> None:
    """Writes and deletes a small object: a missing bucket or right shows now and not after hours of work."""
    name = paths.join(uri, f"_fullpass_probe-{secrets.token_hex(4)}")
    try:
        with paths.open_output(name) as file:
            file.write(b"may this be written?\n")
        delete_file(name)
    except DataError as error:
        raise ConfigError(f"{uri} cannot be written: {error.message}") from error
