"""Messages of Arrow IPC, and what their packed buffers become: each begins with its length, which is read before any is unpacked.

Numbers of fields are those of Arrow's Message.fbs and File.fbs.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import Any

from engine.formats.foreign.wire import Table, long_at, root, unpacked_at

__all__ = [
    "BATCH",
    "DICTIONARY",
    "LENGTH_BYTES",
    "NOT_PACKED",
    "Message",
    "buffer_bytes",
    "read_footer",
    "read_message",
    "unpacked_bytes",
]

_CONTINUES = -1
NOT_PACKED = -1  # in place of the length, of a buffer of a packed message that is not packed itself
LENGTH_BYTES, _BUFFER_BYTES, _BLOCK_BYTES = 8, 16, 24
_TAIL_BYTES = 10  # the footer's length, and ARROW1
_OF_OLD = b"ARROW:experimental_compression"  # Arrow 0.17 said it in a message's own words
# Fields of tables, by number.
_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3  # of Message
_ROWS, _BUFFERS, _PACKING = 0, 2, 3  # of RecordBatch
_DATA = 1  # of DictionaryBatch
_CODEC = 0  # of BodyCompression
_VERSION, _SCHEMA, _DICTIONARIES, _BATCHES = 0, 1, 2, 3  # of Footer
_SCHEMA_KIND, DICTIONARY, BATCH = 1, 2, 3  # kinds of messages


@dataclasses.dataclass(frozen=True)
class Message:
    """One message of a file or stream.

    Args:
        metadata: its flatbuffer.
        body: where its body begins in the file.
        stop: where it ends, and the next one begins.
    """

    metadata: bytes
    body: int
    stop: int

    @property
    def kind(self) -> int:
        """What it holds: DICTIONARY, BATCH or another."""
        table = root(self.metadata)
        place = table.field(_KIND)
        return self.metadata[place] if place else 0

    @property
    def rows(self) -> int:
        """How many rows a record batch says that it has."""
        batch = self.batch
        place = batch.field(_ROWS) if batch else 0
        return long_at(self.metadata, place) if place else 0

    @property
    def batch(self) -> Table | None:
        """The table of a record batch, or of a dictionary's; None of any other message."""
        kind = self.kind
        if kind not in (DICTIONARY, BATCH):
            return None
        header = root(self.metadata).table(_HEADER)
        return header.table(_DATA) if kind == DICTIONARY else header

    @property
    def length_place(self) -> int:
        """Where in the metadata the body's length is; 0: it is 0, and nowhere."""
        return root(self.metadata).field(_BODY_LENGTH)

    @property
    def codec(self) -> int | None:
        """The number of the codec that the buffers are packed by; None where they are not, or as Arrow 0.17 did."""
        batch = self.batch
        if batch is None or not batch.field(_PACKING):
            return None
        place = batch.table(_PACKING).field(_CODEC)
        return self.metadata[place] if place else 0

    @property
    def packed_of_old(self) -> bool:
        """Whether the buffers are packed as Arrow 0.17 did."""
        return _OF_OLD in self.metadata

    def buffers(self) -> Iterator[tuple[int, int, int]]:
        """Yields (place in the metadata, offset in the body, length) of each buffer."""
        batch = self.batch
        for place in batch.vector(_BUFFERS, _BUFFER_BYTES) if batch else ():
            yield place, long_at(self.metadata, place), long_at(self.metadata, place + 8)


def read_message(source: Any, at: int) -> Message | None:
    """Returns the message that begins at a place of a file, None where the stream ends there.

    Args:
        source: opened for reading, with seek.
        at: the place.

    Raises:
        ValueError: it is none.
    """
    source.seek(at)
    head = source.read(8)
    if not head:
        return None
    if len(head) < 4:
        raise ValueError("it ends within a message")
    prefix = 4
    (size,) = struct.unpack_from("<i", head)
    if size == _CONTINUES:
        if len(head) < 8:
            raise ValueError("it ends within a message")
        prefix, (size,) = 8, struct.unpack_from("<i", head, 4)
    if not size:
        return None
    source.seek(at + prefix)
    metadata = bytes(source.read(size)) if size > 0 else b""
    if len(metadata) < 8 or len(metadata) < size:
        raise ValueError("it ends within a message")
    place = root(metadata).field(_BODY_LENGTH)
    length = long_at(metadata, place) if place else 0
    if length < 0:
        raise ValueError(f"a message says that it has {length} bytes")
    body = at + prefix + size
    return Message(metadata, body, body + length)


def unpacked_bytes(source: Any, message: Message) -> int:
    """Returns how many bytes the packed buffers of a message become, as they say; 0 where it is not packed.

    Raises:
        ValueError: it is damaged.
    """
    if message.codec is None and not message.packed_of_old:
        return 0
    return sum(buffer_bytes(source, message, offset, length) for _, offset, length in message.buffers())


def read_footer(source: Any, size_bytes: int) -> tuple[Message, list[int], list[int]]:
    """Returns (the schema as a message, where the dictionaries lie, where the record batches do) of a file, as its footer says.

    Raises:
        ValueError: the footer is damaged.
    """
    source.seek(max(size_bytes - _TAIL_BYTES, 0))
    (length,) = unpacked_at("<i", source.read(_TAIL_BYTES), 0)
    if not 0 < length <= size_bytes - _TAIL_BYTES:
        raise ValueError(f"its footer says that it has {length} bytes")
    source.seek(size_bytes - _TAIL_BYTES - length)
    footer = root(bytes(source.read(length)))
    dictionaries, batches = (
        [long_at(footer.data, place) for place in footer.vector(number, _BLOCK_BYTES)]
        for number in (_DICTIONARIES, _BATCHES)
    )
    return _schema_of(footer), dictionaries, batches


def _schema_of(footer: Table) -> Message:
    """The message of the footer's schema: a table that leads into the footer behind it. Polars writes no such message of its own."""
    place = footer.field(_VERSION)
    (version,) = unpacked_at("<h", footer.data, place) if place else (0,)
    # Where the table lies; its fields' places, which are three; the way back to those; version, kind, the way to the schema.
    head = struct.pack(
        "<IHHHHHxxihBxIxxxx", 16, 10, 12, 4, 6, 8, 12, version, _SCHEMA_KIND, 32 - 24 + footer.led(_SCHEMA)
    )
    return Message(head + footer.data, 0, 0)


def buffer_bytes(source: Any, message: Message, offset: int, length: int) -> int:
    """Returns the bytes that a buffer of a packed message becomes, as it says.

    Raises:
        ValueError: it is damaged.
    """
    if not length:
        return 0
    if length < LENGTH_BYTES or offset < 0 or message.body + offset + length > message.stop:
        raise ValueError(f"a buffer of {length} bytes lies at {offset} of a body of {message.stop - message.body}")
    source.seek(message.body + offset)
    (said,) = unpacked_at("<q", source.read(LENGTH_BYTES), 0)
    if said < NOT_PACKED:
        raise ValueError(f"a buffer says that it unpacks to {said} bytes")
    return length - LENGTH_BYTES if said == NOT_PACKED else int(said)
