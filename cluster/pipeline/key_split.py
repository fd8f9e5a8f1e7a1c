"""Which split a row belongs to: a hash of its key, the same on every machine, run and batch size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.errors import ConfigError

__all__ = ["eval_mask"]

_BUCKETS = 10_000
_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


def eval_mask(batch: pa.RecordBatch, key: Sequence[str], eval_percent: float) -> pa.BooleanArray:
    """Returns true for each row that belongs to the eval split.

    Args:
        batch: rows.
        key: columns whose values, as text, make up the key; equal keys never end in different splits.
        eval_percent: share of the hash values that go to eval, in steps of 0.01.

    Raises:
        ConfigError: a column that is not there.
    """
    for name in key:
        if name not in batch.schema.names:
            raise ConfigError(f"split_key: no column '{name}'; there are {', '.join(batch.schema.names)}")
    texts = [pc.cast(batch.column(name), pa.string()) for name in key]
    joined = pc.binary_join_element_wise(*texts, "\x1f", null_handling="replace", null_replacement="\x00")
    return pa.array(_hash(joined) % np.uint64(_BUCKETS) < np.uint64(round(eval_percent * _BUCKETS / 100)))


def _hash(texts: pa.StringArray) -> np.ndarray:
    """Returns FNV-1a of the UTF-8 bytes, its bits mixed at the end (uint64 [n]), one byte position at a time."""
    texts = pc.cast(texts, pa.large_binary())
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2] or b"\0", np.uint8)
    lengths = np.diff(offsets)
    state = np.full(len(texts), _OFFSET, np.uint64)
    for position in range(int(lengths.max(initial=0))):
        rows = np.flatnonzero(lengths > position)
        state[rows] = (state[rows] ^ data[offsets[rows] + position]) * _PRIME
    state ^= state >> np.uint64(33)
    state *= np.uint64(0xFF51AFD7ED558CCD)
    return state ^ (state >> np.uint64(33))
