"""A bounded local copy of remote blocks, shared by the processes of a machine.

One file a block, named by a hash of (URI, size, modification time, offset, length), so that a changed object never meets
an old block. A file holds the block and its CRC-32; a damaged or half-written one is dropped and read again. Files appear by
rename; the bound is kept by deleting the files used longest ago.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import zlib
from pathlib import Path

from engine.storage.atomic import atomic_file

__all__ = ["BlockCache"]

_SUFFIX = ".block"


class BlockCache:
    """Blocks of remote objects in a local directory.

    Args:
        directory: made where missing; several processes may share it.
        limit_bytes: bound on the size of all blocks; kept after each write (it may be passed by the blocks being written).
    """

    def __init__(self, directory: str | os.PathLike[str], limit_bytes: int) -> None:
        self.directory = Path(directory)
        self.limit_bytes = limit_bytes
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._written_bytes = limit_bytes  # forces a first count

    @staticmethod
    def key(uri: str, size_bytes: int, modified_ns: int, offset: int, length: int) -> str:
        """Returns the name of a block: a hash of all that says which bytes it holds."""
        text = f"{uri}\n{size_bytes}\n{modified_ns}\n{offset}\n{length}"
        return hashlib.sha256(text.encode()).hexdigest()[:40]

    def get(self, key: str) -> bytes | None:
        """Returns a block, or None where it is absent or damaged. Marks it as used now."""
        path = self.directory / (key + _SUFFIX)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(data) < 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
        return data[:-4]

    def put(self, key: str, block: bytes) -> None:
        """Stores a block unless it alone is over the bound. A full disk only means that nothing is stored."""
        if len(block) + 4 > self.limit_bytes:
            return
        with contextlib.suppress(OSError), atomic_file(self.directory / (key + _SUFFIX)) as temporary:
            temporary.write_bytes(block + zlib.crc32(block).to_bytes(4, "little"))
        with self._lock:
            self._written_bytes += len(block) + 4
            # Counting the directory costs a stat a file: once for every sixteenth of the bound that is written.
            if self._written_bytes * 16 >= self.limit_bytes:
                self._evict()
                self._written_bytes = 0

    def _evict(self) -> None:
        files = []
        for entry in os.scandir(self.directory):
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    files.append((status.st_mtime_ns, status.st_size, entry.path))
        # Room for what may be written before the next count.
        excess = sum(size for _, size, _ in files) - (self.limit_bytes - self.limit_bytes // 16)
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            excess -= size

    def size_bytes(self) -> int:
        """Returns the size of all blocks on disk."""
        return sum(entry.stat().st_size for entry in os.scandir(self.directory) if entry.name.endswith(_SUFFIX))
