"""Files and directories that appear whole or not at all.

POSIX `rename` within one file system is atomic; so everything is written beside its final place under a hidden
temporary name (`.NAME.tmp-PID-RANDOM`), flushed to disk, and renamed. A process killed at any moment leaves the old
version and at most a hidden leftover, which `remove_leftovers` deletes. A directory that is being filled is locked, and the
lock ends with its process: `remove_abandoned` deletes those that nobody fills any more.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.core.errors import DataError, NoRoom
from engine.machine.lock import hold_directory, unheld

__all__ = [
    "atomic_directory",
    "atomic_file",
    "fsync_directory",
    "remove_abandoned",
    "remove_leftovers",
    "write_if_room",
]


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Makes renames inside the directory durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"


_SYNCS_AT_ONCE = 32  # they wait for the disk, which takes many together in the time of one
_filling: set[Path] = set()  # temporary directories that this process, or the one that it was forked from, fills
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def _by_final_name(final: Path, temporary: Path) -> Iterator[None]:
    """Errors name what the user asked for: a temporary name says nothing to him, and is gone when he looks."""
    try:
        yield
    except DataError as error:
        error.message = error.message.replace(str(temporary), str(final))
        error.path = error.path and error.path.replace(str(temporary), str(final))
        raise
    except OSError as error:
        code = error.errno
        if isinstance(error, shutil.Error):  # of a copied tree: a list of what went wrong with each of its files
            code = next((each for each in (*_NO_ROOM, errno.EROFS) if os.strerror(each) in str(error)), None)
        if code not in (*_NO_ROOM, errno.EROFS):
            raise
        raise (NoRoom if code in _NO_ROOM else DataError)(
            f"cannot be written: {os.strerror(code)}; nothing of it was kept. Make room, or write elsewhere",
            path=str(final),
        ) from error


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], mode: int | None = None) -> Iterator[Path]:
    """Yields a path to write by this process; on success what it wrote becomes `path`, on an exception it is deleted.

    The path leads to the file that was made here, whatever others who may write to the directory put in the place of its temporary
    name meanwhile: a link there would make this process write to any file of its user's.

    Args:
        path: final local path; its directory is made where missing. An existing file is replaced.
        mode: permissions that it has from its first byte, as 0o600; None leaves them to the umask.

    Raises:
        NoRoom: no room is left, with `path`.
        DataError: the file system is read-only, or somebody else replaced the file meanwhile, with `path`.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(final)
    made = None
    try:
        with _by_final_name(final, temporary):
            made = os.open(temporary, _NEW_FILE, 0o666 if mode is None else mode)
            opened = _path_of(made, temporary)
            with _by_final_name(final, opened):
                yield opened
            _refuse_replaced(made, temporary, final)
            alone = not _is_being_filled(
                final.parent
            )  # else its directory is made durable whole, before it has its name
            if alone:
                os.fsync(made)
            os.replace(temporary, final)
            if alone:
                fsync_directory(final.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    finally:
        if made is not None:
            os.close(made)


def _path_of(descriptor: int, name: Path) -> Path:
    """Returns a path by which this process opens the file of a descriptor; its name on systems without one."""
    by_number = Path(f"/proc/self/fd/{descriptor}")
    return by_number if by_number.exists() else name


def _refuse_replaced(descriptor: int, temporary: Path, final: Path) -> None:
    # Not by number: on mounted object stores a file has another one after each rename.
    found = os.lstat(temporary)
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.fstat(descriptor).st_uid:
        raise DataError(
            f"cannot be written: somebody else replaced {temporary.name} beside it meanwhile. Give a directory that nobody else "
            "may write to",
            path=str(final),
        )


def write_if_room(path: str | os.PathLike[str], data: bytes, mode: int | None = None) -> bool:
    """Writes a file that nobody must have, as of a cache or for a progress bar; returns whether it could be written.

    Args:
        path: final local path.
        data: its content.
        mode: as of `atomic_file`.
    """
    try:
        with atomic_file(path, mode) as temporary:
            temporary.write_bytes(data)
    except (OSError, DataError):  # a full or read-only disk is a DataError of atomic_file's
        return False
    return True


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary directory to fill; on success it becomes `path`, on an exception it is deleted.

    What killed writers of the same directory left beside it is deleted first. An existing directory at `path` is moved aside and
    deleted after the new one is there. The two renames leave one instant with no directory at `path`; readers that must never
    see that use versioned names instead.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(final)
    temporary = _temporary(final)
    lock = None
    try:  # from here on: a signal may come between any two steps
        lock = _locked_directory(temporary)
        _filling.add(temporary.absolute())
        with _by_final_name(final, temporary):
            yield temporary
            _fsync_tree(temporary)
            _refuse_replaced(lock, temporary, final)
        aside = None
        if os.path.lexists(final):  # a link, too: what it leads to stays as it is
            aside = _temporary(final)
            os.replace(final, aside)
        os.replace(temporary, final)
        fsync_directory(final.parent)
        if aside is not None:
            _remove(aside)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(_unlocked(temporary), ignore_errors=True)
        raise
    finally:
        _filling.discard(temporary.absolute())
        if lock is not None:
            os.close(lock)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def _is_being_filled(directory: Path) -> bool:
    place = directory.absolute()
    return any(each in _filling for each in (place, *place.parents))


def _locked_directory(path: Path) -> int:
    """Makes a directory that has its final name only once it is locked; returns the descriptor that holds the lock."""
    unlocked = _unlocked(path)
    unlocked.mkdir()
    lock = hold_directory(unlocked)
    os.rename(unlocked, path)
    return lock


def _unlocked(path: Path) -> Path:
    return path.with_name(path.name.replace(".tmp-", ".new-"))


def remove_abandoned(path: str | os.PathLike[str]) -> list[Path]:
    """Deletes what killed writers of a directory left beside it, and returns the deleted paths. Others may be writing it now.

    Args:
        path: the directory that was to appear.
    """
    final = Path(path)
    removed = []
    for leftover in final.parent.glob(f".{glob.escape(final.name)}.tmp-*"):
        if leftover.is_symlink():  # of an output that was one, or of somebody else
            continue
        with unheld(leftover) as free:
            if free:
                shutil.rmtree(leftover, ignore_errors=True)
                removed.append(leftover)
    return removed


def _fsync_tree(root: Path) -> None:
    directories, files = [], []
    for directory, _, names in os.walk(root):
        directories.append(directory)
        files += [os.path.join(directory, name) for name in names]
    with ThreadPoolExecutor(_SYNCS_AT_ONCE, "fullpass-fsync") as pool:
        list(pool.map(_fsync_file, files))
        list(pool.map(fsync_directory, directories))


def _fsync_file(path: str | os.PathLike[str]) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def remove_leftovers(directory: str | os.PathLike[str]) -> list[Path]:
    """Deletes what killed writers left in the directory and returns the deleted paths. Call it when none is writing."""
    removed = []
    for path in Path(directory).glob(".*.tmp-*"):
        _remove(path)
        removed.append(path)
    return removed
