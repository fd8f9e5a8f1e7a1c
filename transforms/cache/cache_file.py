"""The file of an analyzer cache: what one span of the data contributed to each analyzer. Versioned, checked, no pickle.

A frame (`engine.storage.frames`) whose index names the span, its files and records, and of each blob its analyzer's key and part number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from engine.storage.atomic import atomic_file
from engine.storage.frames import MALFORMED, Frame, OtherVersion, mapped

__all__ = ["VERSION", "SpanCache", "read_span", "write_span"]

VERSION = 2  # 1 had no checksum of the index: a flipped digit of its record count went unseen
_FRAME = Frame(magic=b"FPAC", version=VERSION, name="a file of an analyzer cache", remedy="delete it")


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
        ((key, number), blob) for key, parts in sorted(cache.parts.items()) for number, blob in sorted(parts.items())
    ]
    facts = {"span": cache.span, "mark": cache.mark, "records": cache.records, "analyzers": sorted(cache.parts)}
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.writelines(_FRAME.pack(facts, blobs))


def read_span(path: Path) -> SpanCache | None:
    """Returns what a file holds, mapped into memory, or None where there is none of this version.

    Raises:
        DataError: when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        facts, blobs = _FRAME.unpack(mapped(path), str(path))
    except OtherVersion:
        return None
    try:
        parts: dict[str, dict[int, memoryview]] = {key: {} for key in facts["analyzers"]}
        for (key, number), blob in blobs:
            parts[key][number] = blob
        return SpanCache(span=facts["span"], mark=facts["mark"], records=facts["records"], parts=parts)
    except MALFORMED as error:
        raise _FRAME.damaged(error, str(path)) from error
