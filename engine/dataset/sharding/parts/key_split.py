"""Which part of a split data set a record belongs to, by its keys alone: stable over runs, files, orders and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine import _native
from engine.core.errors import ConfigError, DataError, listed
from engine.dataset.sharding.parts.part_options import check_fractions
from engine.schema.kinds import is_text_or_bytes

__all__ = ["check_fractions", "column_of", "hash_positions", "key_hashes", "part_of_rows", "texts_of"]


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Returns a column by its name.

    Raises:
        DataError: it is not there.
    """
    if name not in batch.schema.names:
        raise DataError(f"has no column {name!r} to split by; it has {listed(batch.schema.names)}")
    return batch.column(batch.schema.names.index(name))


def texts_of(column: pa.Array, name: str) -> pa.Array:
    """Returns a column's values as bytes, equal for equal values whatever integer width or text type they have.

    Raises:
        ConfigError: lists, structs and maps, which are not keys.
    """
    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if types.is_nested(kind):
        raise ConfigError(f"column {name!r} is {kind}; data are split by columns of single values")
    if types.is_time(kind):  # Arrow writes no times of day of some units
        column = column.cast(pa.int32() if types.is_time32(kind) else pa.int64())
    elif types.is_duration(kind):
        column = column.cast(pa.int64())
    elif types.is_floating(kind):  # -0.0 equals 0.0, and its text would not; of 16 bits Arrow compares none
        wide = column.cast(pa.float32()) if types.is_float16(kind) else column
        same = pc.if_else(pc.equal(wide, pa.scalar(0.0, wide.type)), pa.scalar(0.0, wide.type), wide)
        column = same.cast(kind)  # the text of 16 bits is another than that of 32
    if not is_text_or_bytes(kind):
        try:
            column = column.cast(pa.string())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise ConfigError(f"column {name!r} is {kind}, which data cannot be split by: {error}") from error
    return column.cast(pa.binary())


def key_hashes(batch: pa.RecordBatch, keys: Sequence[str], seed: int = 0) -> np.ndarray:
    """Returns a 64-bit hash of each row's keys: uint64 [num_rows]. Equal keys hash equally, whatever integer width or text type they have.

    Raises:
        DataError: a key column that is not there.
        ConfigError: a key column of lists or structs.
    """
    texts = [pc.fill_null(texts_of(column_of(batch, name), name), b"\x00null") for name in keys]
    joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, b"\x1f")
    _, array = joined.__arrow_c_array__()
    return np.frombuffer(memoryview(_native.hash_rows(array, seed)), np.uint64)


def hash_positions(hashes: np.ndarray, fractions: Mapping[str, float]) -> np.ndarray:
    """Returns the part of each hash: int64 [num_rows], an index into the fractions in their order."""
    bounds = np.cumsum(list(fractions.values()))[:-1]
    return np.asarray(np.searchsorted(bounds, hashes.astype(np.float64) / 2.0**64, side="right"))


def part_of_rows(
    batch: pa.RecordBatch, keys: Sequence[str], fractions: Mapping[str, float], seed: int = 0
) -> np.ndarray:
    """Returns each row's part: int64 [num_rows], an index into the fractions in their order."""
    return hash_positions(key_hashes(batch, keys, seed), fractions)
