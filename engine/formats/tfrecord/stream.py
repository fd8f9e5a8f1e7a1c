"""Bytes of a TFRecord file in one growing window: plain files by position, compressed ones decompressed a thread ahead."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from isal import igzip_lib

from engine import _native
from engine.core.errors import DataError
from engine.formats.beginnings import may_be_text
from engine.formats.tfrecord import zlib_stream
from engine.storage import paths as _paths

__all__ = ["HEAD_BYTES", "ZLIB_SUFFIXES", "Window", "compression_of", "file_compression", "header_holds"]

_GZIP_MAGIC = b"\x1f\x8b\x08"
HEAD_BYTES = zlib_stream.HEAD_BYTES
ZLIB_SUFFIXES = (".deflate", ".zlib", ".zz", ".z")


def file_compression(path: str) -> str | None:
    """Returns "gzip", "zlib" or None by the file's first bytes, and for zlib by its name too where those are damaged."""
    with _paths.open_input(path) as file:
        found = compression_of(file.read(HEAD_BYTES) or b"", path)
    return found or None


def compression_of(head: bytes, path: str = "") -> str | None:
    """Returns "gzip", "zlib", "" for plain, or None where these first bytes are of no TFRecord file that is whole.

    A record header whose checksum holds is never taken for the beginning of a compressed stream.

    Args:
        head: first bytes of the file, HEAD_BYTES where it has as many.
        path: the file's name; a name that says zlib decides where the bytes begin as zlib does, and are damaged further on.
    """
    if header_holds(head[:12]):
        return ""
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    inner = zlib_stream.decompressed_head(head)
    if inner is not None and (header_holds(inner) or (not inner and not may_be_text(head))):
        return "zlib"
    named = path.lower().endswith(ZLIB_SUFFIXES)
    return "zlib" if named and zlib_stream.may_be_zlib(head) else None


def header_holds(head: bytes) -> bool:
    """Returns whether 12 bytes are a TFRecord header whose checksum holds."""
    return len(head) >= 12 and _native.masked_crc32c(head[:8]) == struct.unpack("<I", head[8:12])[0]


class Window:
    """The bytes of a file from some offset on, as much of them as is asked for at a time.

    Args:
        path: file or URI.
        compression: "gzip", "zlib" or None.
        start: first byte wanted; 0 for a compressed file.
    """

    def __init__(self, path: str, compression: str | None, start: int = 0) -> None:
        self.path = path
        self._file: Any = _paths.open_input(path)
        self._raw = self._file
        if compression == "gzip":
            from isal import igzip_threaded

            self._file = igzip_threaded.open(self._raw, "rb", threads=1)  # type: ignore[no-untyped-call]
        elif compression == "zlib":
            self._file = zlib_stream.ZlibReader(self._raw)
        elif start:
            self._file.seek(start)
        self.buffer: np.ndarray = np.empty(1 << 20, np.uint8)
        self.offset = start  # of `begin` in the (uncompressed) file
        self.begin = self.end = 0  # what of the buffer is filled and not yet used
        self.at_end = False  # of the file

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._raw.close()

    @property
    def compressed_offset(self) -> int:
        """Bytes of the file itself that were read, compressed as they are."""
        return int(self._raw.tell())

    @property
    def available(self) -> int:
        """Bytes filled and not yet used."""
        return self.end - self.begin

    def use(self, size: int) -> None:
        """Gives up the first `size` available bytes."""
        self.begin += size
        self.offset += size

    def fill(self, size: int) -> None:
        """Makes at least `size` bytes available, or all that the file still has.

        Raises:
            DataError: the file cannot be read or decompressed any further.
        """
        if self.available >= size or self.at_end:
            return
        if self.begin + size > len(self.buffer):
            self._make_room(size)
        while self.available < size:
            try:
                count = self._file.readinto(self.buffer[self.end : self.begin + size])
            except (EOFError, zlib.error, igzip_lib.IsalError, OSError) as error:  # type: ignore[misc]
                raise DataError(
                    f"cannot be read further: {error or 'it ends within the compressed stream'}",
                    path=self.path,
                    offset_bytes=self.offset + self.available,
                ) from error
            if not count:
                self.at_end = True
                return
            self.end += count

    def _make_room(self, size: int) -> None:
        rest = self.buffer[self.begin : self.end]
        if size > len(self.buffer):
            self.buffer = np.empty(size + size // 8, np.uint8)
        self.buffer[: len(rest)] = rest
        self.begin, self.end = 0, len(rest)
