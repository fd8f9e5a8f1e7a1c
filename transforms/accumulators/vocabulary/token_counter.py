"""Counts of distinct strings in one hash table that lives as long as its state: each string is looked up once.

The table is native (`transforms/native/`). Counting a batch by itself and merging the results looks every rare string up twice
more, and rare strings are what large vocabularies are made of.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

import transforms._native as _native

__all__ = ["TokenCounter", "is_countable", "partition_numbers"]


def is_countable(tokens: pa.Array) -> bool:
    """Returns whether the tokens are plain strings, with offsets of 32 or 64 bits and without nulls."""
    return (pa.types.is_binary(tokens.type) or pa.types.is_large_binary(tokens.type)) and not tokens.null_count


class TokenCounter:
    """Counts strings; for one thread at a time."""

    def __init__(self) -> None:
        self._native = _native.TokenCounter()

    def __len__(self) -> int:
        return len(self._native)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._native.nbytes

    def add(self, tokens: pa.Array, counts: np.ndarray | None = None) -> None:
        """Adds strings.

        Args:
            tokens: binary or large_binary, without nulls.
            counts: int64 [tokens], all above 0: how often each occurs; once where not given.
        """
        if not len(tokens):
            return
        _, offsets, data = tokens.buffers()
        large = pa.types.is_large_binary(tokens.type)
        add = self._native.add_large_binary if large else self._native.add_binary
        add(offsets, data, tokens.offset, len(tokens), counts)

    def take(self) -> tuple[pa.Array, np.ndarray]:
        """Returns (distinct strings as large_binary, int64 counts [strings]) and is empty then."""
        offsets, text, counts = self._native.take()
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
        return pa.Array.from_buffers(pa.large_binary(), len(counts), buffers), counts


def partition_numbers(tokens: pa.Array, num_parts: int) -> np.ndarray:
    """Returns the number of the hash partition of each string, uint16 [tokens]; the same in every process and run."""
    if not len(tokens):
        return np.zeros(0, np.uint16)
    _, offsets, data = tokens.buffers()
    function = _native.partitions_large_binary if pa.types.is_large_binary(tokens.type) else _native.partitions_binary
    return function(offsets, data, tokens.offset, len(tokens), num_parts)
