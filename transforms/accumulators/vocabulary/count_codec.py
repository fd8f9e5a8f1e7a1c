"""Counts of tokens as bytes: what a worker sends and a cache keeps."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.storage.frames import Frame
from transforms.accumulators.vocabulary.counts import TokenCounts, value_buffers

__all__ = ["decode_counts", "encode_counts"]

_FRAME = Frame(magic=b"FPVC", version=2, name="vocabulary counts", remedy="run the analysis again", checks_blobs=False)
_INDEX = struct.Struct("<BBHqqq")  # kind of token, flags, number of measures, tokens, data bytes, distinct
_FIRST = b"FPV1"  # which the same numbers follow, in caches of earlier versions
_KINDS: tuple[Any, ...] = (pa.large_binary(), pa.int64(), pa.uint64())


def encode_counts(counts: TokenCounts) -> bytes:
    """Returns the counts as bytes: a frame of measures, offsets and data as they lie in memory (little endian)."""
    kind = _KINDS.index(counts.tokens.type)
    measures = np.ascontiguousarray(counts.measures, np.int64)
    if kind == 0:
        offsets, data = value_buffers(counts.tokens)
        body = [measures.tobytes(), offsets.astype(np.int64, copy=False).tobytes(), data.tobytes()]
    else:
        data = counts.tokens.to_numpy(zero_copy_only=False)
        body = [measures.tobytes(), data.tobytes()]
    index = _INDEX.pack(kind, counts.ordered, len(measures), len(counts), data.nbytes, counts.distinct)
    return b"".join([_FRAME.head(index), *body])


def decode_counts(blob: Any) -> TokenCounts:
    """Returns what `encode_counts` was given, without a copy: the blob's memory stays in use.

    Args:
        blob: bytes or any other buffer, e.g. a memory-mapped file.

    Raises:
        DataError: when the bytes are damaged or of another version.
    """
    buffer = pa.py_buffer(blob)
    view = memoryview(buffer)
    if buffer.size >= len(_FIRST) + _INDEX.size and bytes(view[: len(_FIRST)]) == _FIRST:
        index, at = bytes(view[len(_FIRST) : len(_FIRST) + _INDEX.size]), len(_FIRST) + _INDEX.size
    else:
        index, at = _FRAME.open(view)
    if len(index) != _INDEX.size:
        raise _FRAME.damaged(f"its index has {len(index)} bytes, expected {_INDEX.size}")
    kind, flags, rows, tokens, data_bytes, distinct = _INDEX.unpack(index)
    if kind >= len(_KINDS):
        raise DataError(
            f"expected vocabulary counts of a kind below {len(_KINDS)}, got {kind}: they are damaged; run the analysis again"
        )
    if min(tokens, data_bytes) < 0:
        raise _FRAME.damaged(f"it says that it has {tokens} tokens of {data_bytes} bytes")
    start = at + 8 * rows * tokens
    end = start + data_bytes + (8 * (tokens + 1) if kind == 0 else 0)
    if end != buffer.size:
        raise DataError(f"expected {end} bytes of vocabulary counts, got {buffer.size}: they were cut off")
    measures = np.frombuffer(buffer, np.int64, rows * tokens, at).reshape(rows, tokens)
    if kind == 0:
        data = start + 8 * (tokens + 1)
        buffers = [None, buffer.slice(start, data - start), buffer.slice(data)]
        array = pa.Array.from_buffers(pa.large_binary(), tokens, buffers)
    else:
        array = pa.Array.from_buffers(_KINDS[kind], tokens, [None, buffer.slice(start)])
    return TokenCounts(array, measures, distinct, bool(flags & 1))
