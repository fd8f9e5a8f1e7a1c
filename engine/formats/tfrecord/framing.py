"""Whole records in what was read of a file, and what is wrong where there is none."""

from __future__ import annotations

from typing import Any

from engine import _native
from engine.core.errors import DataError
from engine.formats.beginnings import said_of
from engine.formats.tfrecord.stream import Window

__all__ = ["MAX_BATCH_BYTES", "framing_fault", "scan_window"]

MAX_BATCH_BYTES = 1 << 30  # Arrow's 32-bit offsets must hold every batch
_HEAD_BYTES = 64  # shown of a file that does not begin as one of records does


def scan_window(
    window: Window, limit: int, max_records: int, max_bytes: int = MAX_BATCH_BYTES, payloads: bool = False
) -> Any:
    """Returns what the scanner finds in the window; `limit` is the file offset at and after which no record begins that is wanted."""
    stop = max(window.begin + limit - window.offset, 0)
    return _native.scan(
        window.buffer, window.begin, window.end, min(stop, len(window.buffer) + 1), max_records, max_bytes, payloads
    )


def framing_fault(window: Window, status: int, needed: int, record: int | None) -> DataError:
    """Returns the error for the bytes at the beginning of the window."""
    if status == _native.BAD_LENGTH:
        message = "the record header's checksum does not hold: the length is damaged, or this is not a TFRecord file"
        if window.offset == 0:
            message += f": {said_of(bytes(window.buffer[window.begin : window.end][:_HEAD_BYTES]))}"
    elif status == _native.TOO_LONG:
        message = f"the record header says {needed} bytes; a tf.Example has 2 GiB at most"
    elif needed:
        message = (
            f"the file ends within this record: it takes {needed} bytes with its framing, {window.available} are there"
        )
    else:
        message = f"the file ends within this record's header: it takes 12 bytes, {window.available} are there"
    return DataError(message, path=window.path, record=record, offset_bytes=window.offset)
