"""A split: the part of one file that one worker reads in one go."""

from __future__ import annotations

import dataclasses
from typing import Any

from engine.core.errors import ConfigError

__all__ = ["Split"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A part of a file. Pickles, and goes to JSON and back.

    Args:
        path: file or URI.
        format: name in `engine.formats.FORMATS`.
        start: TFRecord: first byte; the split owns the records whose header begins in [start, stop). Parquet: first row group.
        stop: one past the last byte or row group. Compressed TFRecord: the file's size (such a file is one split).
        records: number of records where it is known, and then held to; else None.
        compression: "gzip" or "zlib" for a compressed TFRecord file, else None (Parquet compresses inside).
        first_record: index within the file of the split's first record, where it is known.
        levels: directories below the one whose manifest lists the file, or that the data set was opened by: their names alone
            must say of a column what the file does. None for the unbroken run of `key=value` next to the file.
    """

    path: str
    format: str
    start: int
    stop: int
    records: int | None = None
    compression: str | None = None
    first_record: int | None = None
    levels: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ConfigError(
                f"a split needs 0 <= start <= stop, not start {self.start} and stop {self.stop} ({self.path})"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the split as a dict of JSON values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Split:
        """Returns the split that `to_json` wrote."""
        return Split(**value)
