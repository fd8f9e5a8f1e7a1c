"""Locks between the processes of this machine: they end with the process that holds them, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LockHeld", "locked"]

_NAME = ".lock"


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

    Advisory (flock): all who write there must ask. On NFS it holds between machines where the server supports it.

    Args:
        directory: local.
        wait: wait for another holder; False raises.

    Raises:
        LockHeld: another process holds it, and `wait` is False.
    """
    path = Path(directory)
    path.mkdir(parents=True, exist_ok=True)
    # "a+" keeps what the holder wrote until this process holds the lock itself.
    with open(path / _NAME, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise LockHeld(file.read().strip() or "unknown") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield path
