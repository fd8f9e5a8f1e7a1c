"""Blocks of Avro, unpacked one at a time and never to more than there is room for, in whichever codec."""

from __future__ import annotations

import bz2
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from engine.core.errors import DataError
from engine.formats.foreign.wire import zigzag

__all__ = ["SYNC_BYTES", "Source", "plain_block", "plain_header", "refuse_unknown", "unpacked_blocks"]

SYNC_BYTES = 16
_CODECS = ("null", "deflate", "bzip2", "xz", "snappy", "zstandard")
_MOST_TIMES = 64  # what Snappy packs at most: three bytes for 64
MOST_BYTES = 1 << 30  # of a block, unpacked; writers make them of some 64 KiB
STEP_BYTES = 4 << 20
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
    if codec not in _CODECS:
        raise DataError(
            f"is packed by the Avro codec {codec!r}; those that are read are {', '.join(_CODECS)}: write it anew",
            path=path,
        )


def plain_header(schema: str, sync: bytes) -> bytes:
    """Returns the header of a file of blocks that are not packed.

    Args:
        schema: as the file has it.
        sync: the mark behind each block.
    """
    parts = [_long(1)]
    for text in ("avro.schema", schema):
        data = text.encode()
        parts += [_long(len(data)), data]
    return b"".join([b"Obj\x01", *parts, _long(0), sync])


def plain_block(records: int, data: bytes, sync: bytes) -> bytes:
    """Returns a block of a file that is not packed."""
    return b"".join([_long(records), _long(len(data)), data, sync])


def unpacked_blocks(data: bytes, codec: str) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields (records, their bytes, the mark behind them) of blocks, one after another.

    Args:
        data: whole blocks.
        codec: of the file.

    Raises:
        ValueError: a damaged block, or one that unpacks to more than 1 GiB.
    """
    place = 0
    while place < len(data):
        records, begin = zigzag(data, place)
        size, begin = zigzag(data, begin)
        place = begin + size + SYNC_BYTES
        yield records, _unpacked(data[begin : begin + size], codec), data[place - SYNC_BYTES : place]


class Source:
    """What fastavro reads: bytes, and more of them behind.

    Args:
        data: the first of them.
    """

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self._most = self.left = sys.maxsize

    def put(self, data: bytes) -> None:
        """Has more bytes read behind those that are left."""
        self._data = io.BytesIO(self._data.read() + data)

    def allow(self, most: int, of_one: bool) -> None:
        """Has at most so many bytes read, of the next record.

        Args:
            most: bytes.
            of_one: all bytes are of this record, so that more are refused at once.

        Raises:
            ValueError: there are more.
        """
        self._most = self.left = most
        if of_one and len(self._data.getbuffer()) > most:
            raise self._too_much()

    def read(self, count: int = -1) -> bytes:
        """Returns the next bytes.

        Raises:
            ValueError: they are more than are allowed.
        """
        part = self._data.read(count)
        self.left -= len(part)
        if self.left < 0:
            raise self._too_much()
        return part

    def _too_much(self) -> ValueError:
        return ValueError(
            f"one record is longer than {self._most:,} bytes: the values of its lists or maps could take more memory than there is room "
            "for; write shorter lists, or bytes"
        )


def _unpacked(data: bytes, codec: str) -> bytes:
    if codec == "snappy":
        return _snappy(data)
    if codec == "null":
        parts = iter([data])
    elif codec == "zstandard":  # whose frames need not say how long they are
        stream = pa.CompressedInputStream(pa.BufferReader(data), "zstd")
        parts = iter(lambda: stream.read(STEP_BYTES), b"")
    else:
        parts = _pieces(data, codec)
    found, total = [], 0
    for part in parts:
        total += len(part)
        if total > MOST_BYTES:
            raise _too_much(len(data))
        found.append(part)
    return found[0] if len(found) == 1 else b"".join(found)


def _snappy(data: bytes) -> bytes:
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


def _pieces(packed: bytes, codec: str) -> Iterator[bytes]:
    """Yields what bytes unpack to, piece by piece; streams of bzip2 and xz may follow each other."""
    while packed:
        one: Any = _STREAMS[codec]()
        while not one.eof:
            part = one.decompress(packed, STEP_BYTES)
            packed = one.unconsumed_tail if codec == "deflate" else b""
            if not part and not packed and not one.eof:
                raise ValueError("a block ends too early")
            yield part
        packed = b"" if codec == "deflate" else one.unused_data


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
