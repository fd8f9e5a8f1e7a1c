"""TFRecord files compressed with zlib (TensorFlow's "ZLIB"): distinguished from plain ones, and decompressed a thread ahead.

Two bytes are all that a zlib stream begins with, and a plain file may begin with the same ones: so a file is taken for zlib
where what it decompresses to begins with a record header whose checksum holds, and there is no plain header.
"""

from __future__ import annotations

import contextlib
import io
import queue
import threading
import zlib
from typing import Any

from isal import igzip_lib, isal_zlib

__all__ = ["HEAD_BYTES", "ZlibReader", "ZlibWriter", "decompressed_head", "may_be_zlib"]

HEAD_BYTES = 4096  # decompress to more than a record header, whatever the code tables before it take
_CHUNK_BYTES = 256 << 10  # decompressed at a time
_CHUNKS_AHEAD = 4


def may_be_zlib(head: bytes) -> bool:
    """Returns whether a zlib stream without a preset dictionary can begin so (RFC 1950): true of one in 2,000 others."""
    return (
        len(head) >= 2
        and head[0] & 15 == 8
        and head[0] >> 4 <= 7
        and not head[1] & 32
        and not (head[0] * 256 + head[1]) % 31
    )


def decompressed_head(head: bytes) -> bytes | None:
    """Returns the first 12 bytes that a zlib stream decompresses to (fewer where it ends before), or None where it is none.

    Args:
        head: first bytes of the file, HEAD_BYTES where it has as many.
    """
    if not may_be_zlib(head):
        return None
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(head, 12)
    except zlib.error:
        return None
    return found if len(found) == 12 or stream.eof else None


class ZlibReader(io.RawIOBase):
    """A zlib stream as a readable file; one thread decompresses ahead of the reader.

    Args:
        raw: open file that holds the stream and nothing else; stays open.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._chunks: queue.Queue[bytes | BaseException] = queue.Queue(_CHUNKS_AHEAD)
        self._left = memoryview(b"")
        self._ended: BaseException | bool = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._decompress, name="zlib ahead", daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as the chunk at hand reaches and returns the bytes; 0 at the stream's end.

        Raises:
            EOFError: the file ends within the stream.
            igzip_lib.IsalError: the stream is damaged, or its checksum does not hold.
            OSError: the file cannot be read, or has more bytes after the stream.
        """
        while not self._left:
            if isinstance(self._ended, BaseException):
                raise self._ended
            if self._ended:
                return 0
            chunk = self._chunks.get()
            if isinstance(chunk, BaseException):
                self._ended = chunk
            elif not chunk:
                self._ended = True
            else:
                self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        """Stops the thread."""
        if not self.closed:
            self._stop.set()
            while self._thread.is_alive():
                with contextlib.suppress(queue.Empty):
                    self._chunks.get(timeout=0.05)
        super().close()

    def _decompress(self) -> None:
        try:
            stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_ZLIB)
            while not (stream.eof or self._stop.is_set()):
                data = b""
                if stream.needs_input:
                    data = self._raw.read(_CHUNK_BYTES)
                    if not data:
                        raise EOFError("it ends within the compressed stream")
                if chunk := stream.decompress(data, _CHUNK_BYTES):
                    self._chunks.put(chunk)
            if stream.eof and (stream.unused_data or self._raw.read(1)):
                raise OSError("there are more bytes after the compressed stream")
            self._chunks.put(b"")
        except BaseException as error:  # the reader raises it
            self._chunks.put(error)


class ZlibWriter:
    """Writes what it is given as one zlib stream.

    Args:
        file: open file to write to; stays open.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._stream = file, isal_zlib.compressobj(level=2)

    def write(self, data: Any) -> None:
        """Adds bytes to the stream."""
        self._file.write(self._stream.compress(data))

    def close(self) -> None:
        """Ends the stream, with its checksum."""
        self._file.write(self._stream.flush())
