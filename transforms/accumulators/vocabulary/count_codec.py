"""Counts of tokens as bytes: what a worker sends and a cache keeps."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from transforms.accumulators.vocabulary.counts import TokenCounts, value_buffers

__all__ = ["decode_counts", "encode_counts"]

_MAGIC = b"FPV1"
_HEADER = struct.Struct("<4sBBHqqq")  # magic, kind of token, flags, number of measures, tokens, data bytes, distinct
_KINDS: tuple[Any, ...] = (pa.large_binary(), pa.int64(), pa.uint64())


def encode_counts(counts: TokenCounts) -> bytes:
    """Returns the counts as bytes: a header, then measures, offsets and data as they lie in memory (little endian)."""
    kind = _KINDS.index(counts.tokens.type)
    measures = np.ascontiguousarray(counts.measures, np.int64)
    if kind == 0:
        offsets, data = value_buffers(counts.tokens)
        body = [measures.tobytes(), offsets.astype(np.int64, copy=False).tobytes(), data.tobytes()]
    else:
        data = counts.tokens.to_numpy(zero_copy_only=False)
        body = [measures.tobytes(), data.tobytes()]
    header = _HEADER.pack(_MAGIC, kind, counts.ordered, len(measures), len(counts), data.nbytes, counts.distinct)
    return b"".join([header, *body])


def decode_counts(blob: Any) -> TokenCounts:
    """Returns what `encode_counts` was given, without a copy: the blob's memory stays in use.

    Args:
        blob: bytes or any other buffer, e.g. a memory-mapped file.

    Raises:
        DataError: when the bytes are damaged or of another version.
    """
    buffer = pa.py_buffer(blob)
    if buffer.size < _HEADER.size:
        raise DataError(f"expected vocabulary counts, got {buffer.size} bytes: fewer than a header")
    magic, kind, flags, rows, tokens, data_bytes, distinct = _HEADER.unpack(buffer[: _HEADER.size].to_pybytes())
    if magic != _MAGIC or kind >= len(_KINDS):
        raise DataError(
            f"expected vocabulary counts of version {_MAGIC!r}, got {magic!r}: they were written by another version of "
            "Fullpass; run the analysis again"
        )
    start = _HEADER.size + 8 * rows * tokens
    end = start + data_bytes + (8 * (tokens + 1) if kind == 0 else 0)
    if end != buffer.size:
        raise DataError(f"expected {end} bytes of vocabulary counts, got {buffer.size}: they were cut off")
    measures = np.frombuffer(buffer, np.int64, rows * tokens, _HEADER.size).reshape(rows, tokens)
    if kind == 0:
        data = start + 8 * (tokens + 1)
        buffers = [None, buffer.slice(start, data - start), buffer.slice(data)]
        array = pa.Array.from_buffers(pa.large_binary(), tokens, buffers)
    else:
        array = pa.Array.from_buffers(_KINDS[kind], tokens, [None, buffer.slice(start)])
    return TokenCounts(array, measures, distinct, bool(flags & 1))
