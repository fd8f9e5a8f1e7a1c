"""A bounded local copy of remote blocks, shared by the processes of a machine.

One file a block, named by a hash of (URI, size, modification time, mark, offset, length), so that a changed object never meets
an old block. A file holds the block and its CRC-32; a damaged or half-written one is dropped and read again. Files appear by
rename; the bound is kept by deleting the files used longest ago.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import threading
import zlib
from pathlib import Path

from engine.machine.private_files import PRIVATE
from engine.storage.atomic import write_if_room
from engine.storage.remote.listing import ObjectInfo

__all__ = ["BlockCache"]

_SUFFIX = ".block"
_LOG = logging.getLogger("fullpass.engine")
_SAID: set[Path] = set()  # directories whose blocks are of another user, which is said once a process


class BlockCache:
    """Blocks of remote objects in a local directory.

    Args:
        directory: made where missing, for its owner alone; several processes of a user may share it. What another user wrote there is
            not believed.
        limit_bytes: bound on the size of all blocks; kept after each write (it may be passed by the blocks being written).
    """

    def __init__(self, directory: str | os.PathLike[str], limit_bytes: int) -> None:
        self.directory = Path(directory)
        self.limit_bytes = limit_bytes
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._written_bytes = limit_bytes  # forces a first count

    @staticmethod
    def key(uri: str, info: ObjectInfo, offset: int, length: int) -> str:
        """Returns the name of a block: a hash of all that says which bytes it holds."""
        text = f"{uri}\n{info.size_bytes}\n{info.modified_ns}\n{info.mark}\n{offset}\n{length}"
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    def get(self, key: str) -> bytes | None:
        """Returns a block, or None where it is absent or damaged. Marks it as used now."""
        path = self.directory / (key + _SUFFIX)
        data = _own_bytes(path)
        if data is None:
            return None
        if len(data) < 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return data[:-4]

    def put(self, key: str, block: bytes) -> None:
        """Stores a block unless it alone is over the bound. A full disk only means that nothing is stored."""
        if len(block) + 4 > self.limit_bytes:
            return
        name = self.directory / (key + _SUFFIX)
        write_if_room(name, block + zlib.crc32(block).to_bytes(4, "little"), mode=PRIVATE)
        with self._lock:
            self._written_bytes += len(block) + 4
            # Counting the directory costs a stat a file: once for every sixteenth of the bound that is written.
            if self._written_bytes * 16 >= self.limit_bytes:
                self._evict()
                self._written_bytes = 0

    def _evict(self) -> None:
        files = []
        try:
            entries = list(os.scandir(self.directory))
        except OSError:  # gone, or of another user: nothing was stored
            return
        for entry in entries:
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        files.append((status.st_mtime_ns, status.st_size, entry.path))
        # Room for what may be written before the next count.
        excess = sum(size for _, size, _ in files) - (self.limit_bytes - self.limit_bytes // 16)
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            with contextlib.suppress(OSError):  # gone, or of another user
                os.unlink(path)
            excess -= size

    def size_bytes(self) -> int:
        """Returns the size of all blocks on disk."""
        return sum(entry.stat().st_size for entry in os.scandir(self.directory) if entry.name.endswith(_SUFFIX))


def _own_bytes(path: Path) -> bytes | None:
    """Returns what a file of this user's holds; None where there is none.

    A block's checksum finds damage, no intent: whoever may write to the directory could give any bytes as those of the store, or
    put a pipe there that never ends.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        if stat.S_ISREG(found.st_mode):
            _say_not_ours(path.parent, found.st_uid)
        return None
    with open(descriptor, "rb") as file:
        return file.read()


def _say_not_ours(directory: Path, owner: int) -> None:
    if directory not in _SAID:
        _SAID.add(directory)
        _LOG.warning(
            "blocks in the cache %s are not used: they belong to user %d, this process to user %d; give a directory of your own "
            "(cache_dir), on a disk that keeps the owners of files",
            directory,
            owner,
            os.geteuid(),
        )
