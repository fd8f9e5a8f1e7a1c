"""Whole numbers in groups of seven bits, the lowest first, as protobuf and Avro write them."""

from __future__ import annotations

__all__ = ["varint", "zigzag"]


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
