"""What formats of others are made of: numbers in groups of seven bits, as protobuf and Avro write them, and tables of flatbuffers."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["Table", "long_at", "root", "unpacked_at", "varint", "zigzag"]


def varint(data: bytes, place: int) -> tuple[int, int]:
    """Returns (a number that is not negative, where it ends)."""
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place


def zigzag(data: bytes, place: int) -> tuple[int, int]:
    """Returns (a number of Avro, where it ends): those from 0 on are even, those below it odd."""
    value, place = varint(data, place)
    return value >> 1 ^ -(value & 1), place


class Table:
    """A table of a flatbuffer; its methods raise ValueError where it is damaged.

    Args:
        data: the flatbuffer.
        place: of the table.
    """

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self._place = data, place
        (back,) = unpacked_at("<i", data, place)
        self._fields = place - back
        (self._size,) = unpacked_at("<H", data, self._fields)

    def field(self, number: int) -> int:
        """The place of a field, 0 where there is none."""
        entry = 4 + 2 * number
        if entry + 2 > self._size:
            return 0
        (offset,) = unpacked_at("<H", self.data, self._fields + entry)
        return self._place + int(offset) if offset else 0

    def table(self, number: int) -> Table:
        """The table that a field leads to."""
        return Table(self.data, self.led(number))

    def vector(self, number: int, width: int) -> range:
        """The places of what the vector has that a field leads to."""
        if not self.field(number):
            return range(0)
        start = self.led(number)
        (count,) = unpacked_at("<I", self.data, start)
        if start + 4 + count * width > len(self.data):
            raise ValueError("it leads out of its own bytes")
        return range(start + 4, start + 4 + count * width, width)

    def led(self, number: int) -> int:
        """The place that a field leads to."""
        place = self.field(number)
        (offset,) = unpacked_at("<I", self.data, place)
        return place + int(offset)


def root(data: bytes) -> Table:
    """Returns the table that a flatbuffer begins with.

    Raises:
        ValueError: it is damaged.
    """
    (place,) = unpacked_at("<I", data, 0)
    return Table(data, place)


def long_at(data: bytes, place: int) -> int:
    """Returns a whole number of 64 bits."""
    (value,) = unpacked_at("<q", data, place)
    return int(value)


def unpacked_at(form: str, data: bytes, place: int) -> tuple[Any, ...]:
    """Returns what lies at a place, as `struct` does.

    Raises:
        ValueError: the place is none of the data.
    """
    if place < 0:
        raise ValueError("it leads out of its own bytes")
    try:
        return struct.unpack_from(form, data, place)
    except struct.error as error:
        raise ValueError("it leads out of its own bytes") from error
