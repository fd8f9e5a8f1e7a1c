"""Bytes that say what they are and whether they are whole: the one framing of caches, states and what workers hand on.

    magic (4 bytes), uint32 version, uint64 length of the index, uint32 CRC-32 of the index, the index, the blobs

All numbers are little endian. The index is JSON with the sizes of the blobs and, where a kind of frame checks them, their CRC-32; a
kind may also have an index of its own bytes. No pickle: whoever wrote the bytes has no code run by who reads them.
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from isal import isal_zlib  # zlib's CRC-32, by the processor's instructions for it

from engine.core.errors import DataError
from engine.core.json_text import parse_json

__all__ = ["MALFORMED", "Frame", "OtherVersion", "mapped"]

# What taking apart a JSON index raises that is of another form than its kind says.
MALFORMED = (ValueError, LookupError, TypeError, AttributeError)
_HEAD = struct.Struct("<4sIQI")
_BLOBS = "blobs"  # key of the index: [*label, size, CRC-32] of each, without the last where they are not checked


class OtherVersion(DataError):
    """Whole bytes of a kind that another version of Fullpass wrote."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """A kind of framed bytes.

    Attributes:
        magic: four bytes that they begin with.
        version: of what is in them.
        name: what they are, for messages: "a file of an analyzer cache".
        remedy: what to do about damaged ones.
        checks_blobs: whether each blob has a checksum; False where what carries the frame has one, or a blob is read more than once.
    """

    magic: bytes
    version: int
    name: str
    remedy: str
    checks_blobs: bool = True

    def head(self, index: bytes) -> bytes:
        """Returns the head and an index of one's own bytes, which blobs follow."""
        return _HEAD.pack(self.magic, self.version, len(index), isal_zlib.crc32(index)) + index

    def open(self, data: Any, path: str | None = None) -> tuple[bytes, int]:
        """Returns (the index's bytes, where the blobs begin).

        Args:
            data: bytes or any buffer of bytes.
            path: file that holds them, for messages.

        Raises:
            OtherVersion: they are of another version.
            DataError: they are something else, or their index is damaged.
        """
        view = memoryview(data).cast("B")
        if view[:4] != self.magic:
            raise DataError(
                f"is not {self.name}: it begins with {bytes(view[:4])!r}, expected {self.magic!r}; {self.remedy}",
                path=path,
            )
        if len(view) < _HEAD.size:
            raise self.damaged(f"it was cut off after {len(view)} bytes", path)
        _, version, length, checksum = _HEAD.unpack_from(view)
        if version != self.version:
            raise OtherVersion(
                f"expected {self.name} of version {self.version}, got version {version}: another version of Fullpass wrote it; "
                f"{self.remedy}",
                path=path,
            )
        index = bytes(view[_HEAD.size : _HEAD.size + length])
        if len(index) != length or isal_zlib.crc32(index) != checksum:
            raise self.damaged("its index has another checksum", path)
        return index, _HEAD.size + length

    def pack(self, facts: Mapping[str, Any], blobs: Iterable[tuple[Sequence[Any], Any]] = ()) -> Iterator[Any]:
        """Yields the pieces of a frame with a JSON index: the head, then the blobs as they are.

        Args:
            facts: JSON-able values by name.
            blobs: (label, bytes or any buffer of bytes); a label is JSON-able values.
        """
        kept = list(blobs)
        entries = [[*label, len(blob), *([isal_zlib.crc32(blob)] if self.checks_blobs else [])] for label, blob in kept]
        yield self.head(json.dumps({**facts, _BLOBS: entries}).encode())
        for _, blob in kept:
            yield blob

    def unpack(self, data: Any, path: str | None = None) -> tuple[dict[str, Any], list[tuple[list[Any], memoryview]]]:
        """Returns (facts, [(label, blob)]) of what `pack` yielded; the blobs are views of the data.

        Args:
            data: bytes or any buffer of bytes.
            path: file that holds them, for messages.

        Raises:
            OtherVersion: they are of another version.
            DataError: they are something else, or damaged.
        """
        text, at = self.open(data, path)
        view = memoryview(data).cast("B")
        blobs = []
        try:
            facts = parse_json(text)
            for entry in facts.pop(_BLOBS):
                *label, size, checksum = entry if self.checks_blobs else (*entry, None)
                blob = view[at : at + size]
                if len(blob) != size:
                    raise ValueError(f"its part {label} was cut off: {len(blob)} of {size} bytes")
                if checksum is not None and isal_zlib.crc32(blob) != checksum:
                    raise ValueError(f"its part {label} has another checksum")
                blobs.append((label, blob))
                at += size
            if at != len(view):
                raise ValueError(f"it holds {len(view)} bytes, its index says {at}")
        except MALFORMED as error:
            raise self.damaged(error, path) from error
        return facts, blobs

    def damaged(self, why: object, path: str | None = None) -> DataError:
        """Returns the error for bytes whose checksum holds and whose content does not.

        Args:
            why: what is wrong, or the error that reading them raised.
            path: file that holds them.
        """
        said = (
            f"{type(why).__name__}: {why}" if isinstance(why, LookupError) else why
        )  # of a key there is only its name
        return DataError(f"is {self.name} that is damaged ({said}); {self.remedy}", path=path)


def mapped(path: str | os.PathLike[str]) -> memoryview:
    """Returns the bytes of a local file, which stay readable after it is deleted."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return memoryview(b"")  # nothing to map
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
