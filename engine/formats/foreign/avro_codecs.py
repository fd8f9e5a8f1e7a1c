"""Blocks of Avro that fastavro unpacks only with packages of their own: pyarrow, which is here anyhow, has the same codecs."""

from __future__ import annotations

import bz2
import contextlib
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from engine.core.errors import DataError
from engine.formats.foreign.varints import zigzag

__all__ = ["SYNC_BYTES", "plain_header", "refuse_unknown", "unpacked_blocks"]

SYNC_BYTES = 16
_OURS = ("snappy", "zstandard")
_FASTAVROS = ("null", "deflate", "bzip2", "xz")
_MOST_TIMES = 64  # what Snappy packs at most: three bytes for 64
MOST_BYTES = 1 << 30  # of a block, unpacked; writers make them of some 64 KiB
STEP_BYTES = 4 << 20
# Packed bytes that cannot become as many: of bzip2 32 can become 46 million.
HARMLESS_BYTES = {"null": MOST_BYTES, "deflate": MOST_BYTES >> 11, "bzip2": 1 << 9, "xz": 1 << 12}
_STREAMS: dict[str, Callable[[], Any]] = {
    "deflate": lambda: zlib.decompressobj(-15),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def refuse_unknown(codec: str, path: str) -> None:
    """Checks that blocks of a codec are read here.

    Raises:
        DataError: they are not.
    """
    if codec not in _OURS + _FASTAVROS:
        known = ", ".join(_FASTAVROS + _OURS)
        raise DataError(
            f"is packed by the Avro codec {codec!r}; those that are read are {known}: write it anew", path=path
        )


def plain_header(header: bytes, metadata: dict[str, Any], codec: str) -> bytes:
    """Returns the header of the file that `unpacked_blocks` makes the blocks of."""
    if codec not in _OURS:
        return header
    parts = [_long(1)]
    for text in ("avro.schema", metadata["avro.schema"]):
        data = text.encode()
        parts += [_long(len(data)), data]
    return b"".join([b"Obj\x01", *parts, _long(0), header[-SYNC_BYTES:]])


def unpacked_blocks(data: bytes, codec: str) -> bytes:
    """Returns blocks as fastavro reads them.

    Args:
        data: whole blocks.
        codec: of the file.

    Raises:
        ValueError: a damaged block, or one that unpacks to more than 1 GiB.
    """
    if codec not in _OURS:
        _refuse_bombs(data, codec)
        return data
    parts, place = [], 0
    while place < len(data):
        records, begin = zigzag(data, place)
        size, begin = zigzag(data, begin)
        found = _unpacked(data[begin : begin + size], codec)
        place = begin + size + SYNC_BYTES
        parts += [_long(records), _long(len(found)), found, data[place - SYNC_BYTES : place]]
    return b"".join(parts)


def _unpacked(data: bytes, codec: str) -> bytes:
    if codec == "zstandard":  # whose frames need not say how long they are
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            return b"".join(_bounded(iter(lambda: stream.read(STEP_BYTES), b""), len(data)))
    packed, checksum = data[:-4], int.from_bytes(data[-4:], "big")
    size = _snappy_size(packed)
    if size > max(len(packed), 1) * _MOST_TIMES:
        raise ValueError(f"a block of {len(packed)} bytes says that it holds {size}")
    if size > MOST_BYTES:
        raise _too_much(len(packed))
    found: bytes = pa.Codec("snappy").decompress(packed, size, asbytes=True)
    if zlib.crc32(found) != checksum:
        raise ValueError("the checksum of a block does not hold")
    return found


def _refuse_bombs(data: bytes, codec: str) -> None:
    """Holds each block to MOST_BYTES before fastavro unpacks it whole; only those that may become so large are unpacked for that."""
    place = 0
    while place < len(data):
        _, place = zigzag(data, place)
        size, place = zigzag(data, place)
        if size > HARMLESS_BYTES[codec]:
            packed = data[place : place + size]
            for _ in _bounded(iter([packed]) if codec == "null" else _pieces(packed, codec), size):
                pass
        place += size + SYNC_BYTES


def _pieces(packed: bytes, codec: str) -> Iterator[bytes]:
    """Yields what bytes unpack to, piece by piece, as far as they are whole: what is wrong with the rest fastavro says."""
    with contextlib.suppress(zlib.error, lzma.LZMAError, OSError, EOFError):
        while packed:  # streams of bzip2 and xz may follow each other
            one: Any = _STREAMS[codec]()
            while not one.eof and (part := one.decompress(packed, STEP_BYTES)):
                packed = one.unconsumed_tail if codec == "deflate" else b""
                yield part
            packed = one.unused_data if one.eof and codec != "deflate" else b""


def _bounded(parts: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yields parts of a block of so many packed bytes, up to MOST_BYTES of them."""
    total = 0
    for part in parts:
        total += len(part)
        if total > MOST_BYTES:
            raise _too_much(size)
        yield part


def _too_much(size: int) -> ValueError:
    return ValueError(f"a block of {size:,} bytes unpacks to more than {MOST_BYTES >> 20:,} MiB")


def _snappy_size(data: bytes) -> int:
    size = shift = 0
    for byte in data[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return size
    raise ValueError("a block does not begin with its length")


def _long(value: int) -> bytes:
    value, out = value << 1, io.BytesIO()
    while value > 0x7F:
        out.write(bytes([value & 0x7F | 0x80]))
        value >>= 7
    out.write(bytes([value]))
    return out.getvalue()
