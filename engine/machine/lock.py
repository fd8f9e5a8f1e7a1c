"""Locks between the processes of this machine: they end with the process that holds them, however that ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.core.errors import FullpassError
from engine.core.run_log import tell
from engine.machine.private_files import open_own

__all__ = ["LockHeld", "hold_directory", "holder_of", "locked", "unheld"]

_NAME = ".lock"
_TRIES, _MOMENT_S = 4, 0.02
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what file systems without locks answer


class LockHeld(Exception):
    """Another process holds the lock.

    Attributes:
        holder: its process id, "unknown" where it has not been written yet.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"process {holder} holds the lock")
        self.holder = holder


@contextlib.contextmanager
def locked(directory: str | os.PathLike[str], *, wait: bool = True) -> Iterator[Path]:
    """Yields the directory, made where missing, while this process alone works in it.

    Advisory (flock): all who write there must ask. On NFS it holds between machines where the server supports it. On a file system
    without locks the work goes on without one, which is said.

    Args:
        directory: local.
        wait: wait for another holder; False raises.

    Raises:
        LockHeld: another process holds it, and `wait` is False.
        ConfigError: the lock's name leads to another file.
    """
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    # "a+" keeps what the holder wrote until this process holds the lock itself.
    with open(path / _NAME, "a+", opener=open_own) as file:
        try:
            _take(file, wait)
        except BlockingIOError:
            file.seek(0)
            raise LockHeld(file.read().strip() or "unknown") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            tell(f"{path}: its file system has no locks, so nothing keeps a second process from working there")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield path


def _take(file: IO[str], wait: bool) -> None:
    """Takes the lock. Who asks for its holder has it for a moment, too: without `wait` that moment is let pass, and no more.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
    """
    for _ in range(_TRIES - 1 if not wait else 0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_MOMENT_S)
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def holder_of(directory: str | os.PathLike[str]) -> str | None:
    """Returns the id of the process that works in a directory by `locked`, "unknown" before it has said so; None where none does.

    Args:
        directory: local. One without a lock's file, of another user, or on a file system without locks counts as free.
    """
    try:
        with open(Path(directory) / _NAME, opener=open_own) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for this moment
            except BlockingIOError:
                return file.read().strip() or "unknown"
    except (OSError, FullpassError):
        pass
    return None


def hold_directory(directory: str | os.PathLike[str]) -> int:
    """Returns a descriptor of a directory that marks it as held by this process, until it is closed or the process ends.

    Where the file system has no locks the directory is not marked, and `unheld` says so of none: it is left alone.

    Args:
        directory: local, of this process alone.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    with contextlib.suppress(OSError):  # a file system without locks: then nobody else gets the lock either
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


@contextlib.contextmanager
def unheld(directory: str | os.PathLike[str]) -> Iterator[bool]:
    """Yields whether a directory is one that `hold_directory` marked and whose process has ended; inside the block it is held here.

    Args:
        directory: local. One that is gone, another user's or on a file system without locks counts as held.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
