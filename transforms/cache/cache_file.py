"""The file of an analyzer cache: what one span of the data contributed to each analyzer. Versioned, checked, no pickle.

    magic "FPAC", uint32 version, uint64 length of the index, uint32 CRC-32 of the index, the index (JSON), the blobs

The index names the span, its files and records, and of each blob its analyzer's key, part number, size and CRC-32.
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from engine.core.errors import DataError
from engine.core.json_text import parse_json
from engine.storage.atomic import atomic_file

__all__ = ["VERSION", "SpanCache", "read_span", "write_span"]

VERSION = 2  # 1 had no checksum of the index: a flipped digit of its record count went unseen
_MAGIC = b"FPAC"
_HEAD = struct.Struct("<4sIQI")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpanCache:
    """What a span contributed.

    Attributes:
        span: its name.
        mark: of its files: names, sizes and times of change.
        records: in the span.
        parts: encoded states by key of the analyzer, then part number; not sealed, so they merge with other spans'.
    """

    span: str
    mark: str
    records: int
    parts: Mapping[str, Mapping[int, bytes | memoryview]]


def write_span(path: Path, cache: SpanCache) -> None:
    """Writes the file; it appears whole or not at all."""
    blobs = [
        (key, number, blob) for key, parts in sorted(cache.parts.items()) for number, blob in sorted(parts.items())
    ]
    index = {
        "span": cache.span,
        "mark": cache.mark,
        "records": cache.records,
        "analyzers": sorted(cache.parts),
        "blobs": [[key, number, len(blob), zlib.crc32(blob)] for key, number, blob in blobs],
    }
    header = json.dumps(index).encode()
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write(_HEAD.pack(_MAGIC, VERSION, len(header), zlib.crc32(header)) + header)
        for _, _, blob in blobs:
            file.write(blob)


def read_span(path: Path) -> SpanCache | None:
    """Returns what a file holds, mapped into memory, or None where there is none of this version.

    Raises:
        DataError: when the file is damaged.
    """
    if not path.exists():
        return None
    with open(path, "rb") as file:
        if file.seek(0, 2) < _HEAD.size:
            raise DataError("is not a file of an analyzer cache: delete it", path=str(path))
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    magic, version, length, checksum = _HEAD.unpack_from(view)
    if magic != _MAGIC:
        raise DataError(f"is not a file of an analyzer cache, it begins with {magic!r}: delete it", path=str(path))
    if version != VERSION:
        return None
    try:
        header = bytes(view[_HEAD.size : _HEAD.size + length])
        if len(header) != length or zlib.crc32(header) != checksum:
            raise ValueError("its index has another checksum")
        index = parse_json(header)
        parts: dict[str, dict[int, memoryview]] = {key: {} for key in index["analyzers"]}
        offset = _HEAD.size + length
        for key, number, size, checksum in index["blobs"]:
            blob = view[offset : offset + size]
            if len(blob) != size or zlib.crc32(blob) != checksum:
                raise ValueError(f"part {number} of analyzer {key} has another checksum")
            parts[key][number] = blob
            offset += size
        return SpanCache(span=index["span"], mark=index["mark"], records=index["records"], parts=parts)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the analyzer cache is damaged ({error}): delete the file", path=str(path)) from error
