"""Text packed by gzip, bzip2, Zstandard or xz: which of them, and a stream of what is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from engine.formats.beginnings import is_bzip2

__all__ = ["packing_of", "unpacking"]

_READ_BYTES = 1 << 16
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\0": "xz"}


def packing_of(head: bytes, path: str) -> str | None:
    """Returns what a file is packed by: "gzip", "bzip2", "zstd" or "xz", by its first ten bytes; None where by none of them.

    Args:
        head: the first bytes.
        path: of the file, whose name tells where a damaged beginning does not.
    """
    if is_bzip2(head, path):
        return "bzip2"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def unpacking(raw: Any, packing: str) -> Any:
    """Returns a stream of what is in a packed file, `read` of which raises an error of its library where the file is damaged or ends.

    Args:
        raw: the file.
        packing: as `packing_of` says it.
    """
    if packing == "gzip":
        from isal import igzip

        return igzip.open(raw, "rb")  # type: ignore[no-untyped-call]
    if packing == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    if packing == "xz":
        import lzma

        return _PackedStreams(raw, lzma.LZMADecompressor)
    import bz2

    return _PackedStreams(raw, bz2.BZ2Decompressor)


class _PackedStreams:
    """A file of streams of bzip2 or xz that lie one behind the other, as pbzip2, pixz and `cat` make them, unpacked.

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
