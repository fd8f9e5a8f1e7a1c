"""Which part of a split data set a record belongs to, by its keys alone: stable over runs, files, orders and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine import _native
from engine.core.errors import ConfigError, DataError

__all__ = ["check_fractions", "key_hashes", "part_of_rows"]


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Raises ConfigError unless the fractions are named, positive and sum to 1."""
    total = sum(fractions.values())
    if not fractions or any(share <= 0 for share in fractions.values()) or abs(total - 1) > 1e-9:
        raise ConfigError(
            f"fractions are {dict(fractions)}; they take positive shares that sum to 1, such as train=0.8,eval=0.2"
        )


def key_hashes(batch: pa.RecordBatch, keys: Sequence[str], seed: int = 0) -> np.ndarray:
    """Returns a 64-bit hash of each row's keys: uint64 [num_rows]. Equal keys hash equally, whatever integer width or text type they have.

    Raises:
        DataError: a key column that is not there.
    """
    texts = []
    for name in keys:
        if name not in batch.schema.names:
            raise DataError(f"has no column {name!r} to split by; it has {', '.join(batch.schema.names)}")
        column = batch.column(batch.schema.names.index(name))
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not (pa.types.is_binary(column.type) or pa.types.is_string(column.type)):
            column = column.cast(pa.string())
        texts.append(pc.fill_null(column.cast(pa.binary()), b"\x00null"))
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, b"\x1f")
    _, array = joined.__arrow_c_array__()
    return np.frombuffer(_native.hash_rows(array, seed), np.uint64)


def part_of_rows(
    batch: pa.RecordBatch, keys: Sequence[str], fractions: Mapping[str, float], seed: int = 0
) -> np.ndarray:
    """Returns each row's part: int64 [num_rows], an index into the fractions in their order."""
    position = key_hashes(batch, keys, seed).astype(np.float64) / 2.0**64
    bounds = np.cumsum(list(fractions.values()))[:-1]
    return np.asarray(np.searchsorted(bounds, position, side="right"))
