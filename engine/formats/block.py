"""A block: what a reader can jump to within a file."""

from __future__ import annotations

import dataclasses

__all__ = ["Block"]


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A run of records that can be read by itself.

    Args:
        offset: TFRecord: first byte. Parquet: index of the row group.
        length: TFRecord: bytes. Parquet: 1.
        records: records in it.
        hash: hex of what it holds: TFRecord: of every payload checksum; Parquet: of the footer's facts.
    """

    offset: int
    length: int
    records: int
    hash: str
