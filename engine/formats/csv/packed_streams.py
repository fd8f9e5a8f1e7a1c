"""Streams of bzip2 or xz that lie one behind the other, as pbzip2, pixz and `cat` make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["PackedStreams"]

_READ_BYTES = 1 << 16


class PackedStreams:
    """A file of packed streams, unpacked.

    Python's own readers end at whatever behind a stream is none, without a word: a damaged byte there would take all that follows.

    Args:
        raw: the file.
        make: makes the unpacker of one stream: `bz2.BZ2Decompressor`, `lzma.LZMADecompressor`.
    """

    def __init__(self, raw: Any, make: Callable[[], Any]) -> None:
        self._raw, self._make, self._stream = raw, make, make()
        self._input = b""

    def read(self, size: int) -> bytes:
        """Returns the next bytes, up to as many as asked for; none at the end.

        Raises:
            EOFError: a stream is cut off.
            OSError, LZMAError: what is there is no stream; zeros between and behind streams are no data.
        """
        while True:
            if self._stream.eof and not self._next_stream():
                return b""
            if self._stream.needs_input and not self._input:
                self._input = self._raw.read(_READ_BYTES) or b""
                if not self._input:
                    raise EOFError("the file ends before the end of its stream")
            found: bytes = self._stream.decompress(self._input, size)
            self._input = b""
            if found:
                return found

    def _next_stream(self) -> bool:
        rest = self._stream.unused_data.lstrip(b"\0")
        while not rest:
            read = self._raw.read(_READ_BYTES)
            if not read:
                return False
            rest = read.lstrip(b"\0")
        self._stream, self._input = self._make(), rest
        return True
