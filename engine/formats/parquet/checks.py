"""What can be checked of a Parquet file: whether its pages have checksums, which the format leaves to the writer."""

from __future__ import annotations

from typing import Any

from engine.formats.parquet.open_file import open_parquet
from engine.storage import paths as _paths

__all__ = ["unchecked"]

_HEADER_BYTES = 32  # type, two sizes and the checksum of a page header take 24 at most
_I32 = 5  # Thrift's compact protocol: the low half of a field's first byte
_CRC_FIELD = 4


def unchecked(path: str) -> str | None:
    """Returns what damage could not be detected in a file that reads whole, or None where every page has its checksum.

    The first page of each column chunk is looked at: writers give all pages of a chunk checksums, or none.
    """
    footer = open_parquet(path).footer
    total = footer.first_page.size
    with _paths.open_input(path) as file:
        without = sum(not _has_checksum(file, offset) for offset in footer.first_page.ravel().tolist())
    if not without:
        return None
    return (
        f"{without:,} of {total:,} column chunks have no page checksums: their pages decode, but a flipped bit inside of a value "
        "cannot be detected"
    )


def _has_checksum(file: Any, offset: int) -> bool:
    file.seek(offset)
    return _CRC_FIELD in _leading_integers(file.read(_HEADER_BYTES))


def _leading_integers(header: bytes) -> set[int]:
    """Field numbers of the i32 fields that a Thrift struct of the compact protocol begins with."""
    found, field, place = set(), 0, 0
    while place < len(header) and header[place] & 0x0F == _I32 and header[place] >> 4:
        field += header[place] >> 4
        found.add(field)
        place += 1
        while place < len(header) and header[place] & 0x80:  # a varint goes on
            place += 1
        place += 1
    return found
