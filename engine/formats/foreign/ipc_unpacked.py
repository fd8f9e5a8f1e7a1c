"""Record batches of Arrow IPC that become too much for the memory: written unpacked to a file without a name, and read from there."""

from __future__ import annotations

import mmap
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine.formats.foreign.ipc_messages import LENGTH_BYTES, NOT_PACKED, Message, buffer_bytes, unpacked_bytes
from engine.formats.foreign.wire import unpacked_at

__all__ = ["SHARE_OF_FREE_DISK", "unpacked_batches"]

STEP_BYTES = 4 << 20
SHARE_OF_FREE_DISK = 0.5  # others write there, too
_CODECS = ("lz4", "zstd")
_CONTINUES = -1


def unpacked_batches(source: Any, messages: Sequence[Message]) -> Iterator[pa.RecordBatch]:
    """Yields the record batches of messages, which are unpacked into a file without a name first.

    Args:
        source: file of the messages.
        messages: the schema, dictionaries, and a record batch.

    Raises:
        ValueError: they are damaged, or the disk has no room for what they become.
    """
    size = sum(unpacked_bytes(source, message) for message in messages)
    directory = tempfile.gettempdir()
    free = shutil.disk_usage(directory).free
    if size > free * SHARE_OF_FREE_DISK:
        raise ValueError(
            f"it unpacks to {size:,} bytes, and {directory}, where that would be kept, has {free:,} left: set TMPDIR to where there "
            "is twice as much room, or write it anew in smaller record batches"
        )
    with tempfile.TemporaryFile(prefix="fullpass-arrow-") as file:
        for message in messages:
            _write(file, source, message)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    yield from pa.ipc.open_stream(pa.BufferReader(pa.py_buffer(mapped)))


def _write(file: Any, source: Any, message: Message) -> None:
    """Writes a message as one whose buffers all say that they are not packed."""
    metadata = bytearray(message.metadata)
    metadata += bytes(-len(metadata) % 8)
    begin = file.tell()
    body = begin + 8 + len(metadata)
    file.seek(body)
    codec = message.codec
    if codec is None:
        if message.packed_of_old:
            raise ValueError("it is packed as Arrow 0.17 did, and too large to be unpacked at once: write it anew")
        _copy(file, source, message.body, message.stop - message.body)
    else:
        for place, offset, size in message.buffers():
            start = file.tell()
            if size:
                _write_buffer(file, source, message, offset, size, codec)
            struct.pack_into("<qq", metadata, place, start - body, file.tell() - start)
            file.seek(-(file.tell() - body) % 64 + file.tell())
        if message.length_place:
            struct.pack_into("<q", metadata, message.length_place, file.tell() - body)
        file.truncate()
    end = file.tell()
    file.seek(begin)
    file.write(struct.pack("<ii", _CONTINUES, len(metadata)) + metadata)
    file.seek(end)


def _write_buffer(file: Any, source: Any, message: Message, offset: int, length: int, codec: int) -> None:
    said = buffer_bytes(source, message, offset, length)
    file.write(struct.pack("<q", NOT_PACKED))
    source.seek(message.body + offset)
    (packed,) = unpacked_at("<q", source.read(LENGTH_BYTES), 0)
    if packed == NOT_PACKED:
        _copy(file, source, message.body + offset + LENGTH_BYTES, length - LENGTH_BYTES)
        return
    if codec >= len(_CODECS):
        raise ValueError(f"it is packed by codec {codec}, which is none that is known")
    done = 0
    with pa.CompressedInputStream(pa.BufferReader(source.read(length - LENGTH_BYTES)), _CODECS[codec]) as stream:
        while part := stream.read(STEP_BYTES):
            done += len(part)
            if done > said:
                break
            file.write(part)
    if done != said:
        raise ValueError(
            f"a buffer says that it unpacks to {said:,} bytes, and has {'more' if done > said else f'{done:,}'}"
        )


def _copy(file: Any, source: Any, at: int, count: int) -> None:
    source.seek(at)
    while count:
        part = source.read(min(count, STEP_BYTES))
        if not part:
            raise ValueError("it ends within a message")
        file.write(part)
        count -= len(part)
