"""What comes through a pipe can be read once: it is kept in a file without a name, and read from there as often as needed."""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
import tempfile
import weakref
from typing import Any

from engine.core.errors import DataError
from engine.storage.open_files import forget

__all__ = ["STDIN", "PipedPath", "is_pipe", "refuse_pipe", "spooled_pipe"]

STDIN = "-"


class PipedPath(str):
    """The name of a pipe, for messages, and what came through it."""

    file: Any
    _named = False

    @property
    def place(self) -> str:
        """Where this process, and no other, can open what came through the pipe by a name, as readers of files do.

        Raises:
            DataError: this system names no open files (other than Linux, mostly).
        """
        place = f"/proc/self/fd/{self.file.fileno()}"
        if not os.path.isfile(place):
            raise DataError("is a pipe, from which only CSV is read on this system: save it as a file first", path=self)
        if not self._named:
            self._named = True
            weakref.finalize(self, forget, place)  # a reader that kept the file open would keep the disk's space, too
        return place

    def open(self) -> io.RawIOBase:
        """Returns what came through the pipe, from its beginning."""
        return _Reader(self.file)


class _Reader(io.RawIOBase):
    """A view of a file with a position of its own."""

    def __init__(self, file: Any) -> None:
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = os.fstat(self._file.fileno()).st_size
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._file.fileno(), [buffer], self._position)
        self._position += count
        return count


def is_pipe(path: str) -> bool:
    """Returns whether a path is "-" (standard input), a named pipe, or what a shell makes of `<(...)`."""
    if path == STDIN:
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def refuse_pipe(path: str) -> None:
    """Raises DataError where a path is a pipe, of which a reader that comes back finds nothing."""
    if is_pipe(path):
        raise DataError(
            "is a pipe, which can be read once only: save it as a file, or write shards of it with `fullpass ingest - --out DIR`",
            path="standard input" if path == STDIN else path,
        )


def spooled_pipe(path: str, directory: str | None = None) -> PipedPath:
    """Reads a pipe to its end and returns its name, which can be opened any number of times.

    Args:
        path: "-" or a pipe.
        directory: where what comes is kept; None takes that of temporary files.

    Raises:
        DataError: the pipe cannot be read, or there is no room for what comes.
    """
    piped = PipedPath("standard input" if path == STDIN else path)
    piped.file = tempfile.TemporaryFile(dir=directory, prefix="fullpass-pipe-")  # noqa: SIM115
    try:
        if path == STDIN:
            shutil.copyfileobj(sys.stdin.buffer, piped.file, 1 << 20)
        else:
            with open(path, "rb") as file:
                shutil.copyfileobj(file, piped.file, 1 << 20)
        piped.file.flush()
    except OSError as error:
        raise DataError(f"cannot be kept for reading: {error.strerror}", path=str(piped)) from error
    return piped
