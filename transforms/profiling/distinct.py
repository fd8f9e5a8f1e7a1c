"""Distinct values with their counts: exact up to a number of them, then the most frequent with a known error.

Beyond its limit a state keeps the values with the largest counts and subtracts from each the largest count that it drops (Misra
and Gries). What was subtracted adds up to the error: a true count lies between the one kept and the one kept plus `error`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.schema.kinds import is_bytes

__all__ = ["DistinctCounts", "distinct", "merged"]


@dataclasses.dataclass(frozen=True)
class DistinctCounts:
    """Distinct values, what was counted of each, and whether any were dropped.

    Attributes:
        values: array without nulls, each value once.
        counts: int64 [values].
        weights: float64 [values], sums of the weights of each; None without weights.
        error: the most that a count may be too small.
        dropped: whether values were dropped.
    """

    values: pa.Array
    counts: np.ndarray
    weights: np.ndarray | None = None
    error: int = 0
    dropped: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def cut(self, keep: int, keep_bytes: int) -> DistinctCounts:
        """Returns the most frequent values, at most `keep` of them and about `keep_bytes` bytes."""
        order = np.argsort(-self.counts, kind="stable")
        last = min(keep, len(order) - 1)
        if is_bytes(self.values.type):
            sizes = np.cumsum(pc.binary_length(self.values).to_numpy()[order])
            last = min(last, max(int(np.searchsorted(sizes, keep_bytes, side="right")), 1))
        lost = int(self.counts[order[last]])
        kept = np.sort(order[: int(np.searchsorted(-self.counts[order], -lost, side="left"))])
        weights = None if self.weights is None else self.weights[kept]
        values = self.values.take(pa.array(kept))
        return DistinctCounts(values, self.counts[kept] - lost, weights, self.error + lost, True)

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Returns the values and counts as numpy arrays, for a state's encoding."""
        found = {f"{prefix}counts": self.counts}
        if self.weights is not None:
            found[f"{prefix}weights"] = self.weights
        if is_bytes(self.values.type):
            sizes, data = _text_arrays(self.values)
            return {**found, f"{prefix}sizes": sizes, f"{prefix}data": data}
        return {**found, f"{prefix}values": self.values.to_numpy(zero_copy_only=False)}


def distinct(values: pa.Array, weights: np.ndarray | None = None) -> DistinctCounts:
    """Returns the distinct values of an array without nulls.

    Args:
        values: numbers or large_binary.
        weights: float64 [values], or None.
    """
    if weights is None:
        found = pc.value_counts(values)
        return DistinctCounts(found.field(0), found.field(1).to_numpy().astype(np.int64))
    return _sums([values], np.ones(len(values), np.int64), weights)


def merged(parts: Sequence[DistinctCounts]) -> DistinctCounts:
    """Returns the sum of counts; the errors add up."""
    if len(parts) == 1:
        return parts[0]
    weighted = any(part.weights is not None for part in parts)
    weights = [part.weights if part.weights is not None else np.zeros(len(part)) for part in parts]
    total = _sums(
        [part.values for part in parts],
        np.concatenate([part.counts for part in parts]),
        np.concatenate(weights) if weighted else None,
    )
    error, dropped = sum(part.error for part in parts), any(part.dropped for part in parts)
    return dataclasses.replace(total, error=error, dropped=dropped)


def from_arrays(arrays: dict[str, np.ndarray], prefix: str, error: int, dropped: bool) -> DistinctCounts:
    """Returns what `DistinctCounts.arrays` gave."""
    if f"{prefix}sizes" in arrays:
        offsets = np.concatenate([[0], np.cumsum(arrays[f"{prefix}sizes"])]).astype(np.int64)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(arrays[f"{prefix}data"])]
        values = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
    else:
        values = pa.array(arrays[f"{prefix}values"])
    return DistinctCounts(values, arrays[f"{prefix}counts"], arrays.get(f"{prefix}weights"), error, dropped)


def _sums(values: Sequence[pa.Array], counts: np.ndarray, weights: np.ndarray | None) -> DistinctCounts:
    encoded = (pa.concat_arrays(values) if len(values) > 1 else values[0]).dictionary_encode()
    at = encoded.indices.to_numpy(zero_copy_only=False)
    size = len(encoded.dictionary)
    # float64 sums of integers are exact below 2**53: no data set has more records.
    totals: Any = np.bincount(at, weights=counts, minlength=size).astype(np.int64)
    summed = None if weights is None else np.bincount(at, weights=weights, minlength=size)
    return DistinctCounts(encoded.dictionary, totals, summed)


def _text_arrays(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns (length of each value, bytes of all)."""
    sizes = pc.binary_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
    _, offsets, data = values.buffers()
    begin = int(np.frombuffer(offsets, np.int64)[values.offset]) if len(values) else 0
    text = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return sizes, text[begin : begin + int(sizes.sum())]
