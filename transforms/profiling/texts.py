"""Strings of a feature: lengths, and how often each occurs, exact until there are too many distinct ones."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.sketches import KmvSketch

from transforms.profiling.distinct import DistinctCounts, distinct, from_arrays, merged

__all__ = ["LARGE", "UNIQUE_HASHES", "TextState", "Tokens", "is_utf8"]

UNIQUE_HASHES = 4096  # least hashes that are kept: the number of distinct values is then right within 1 / sqrt of it
LARGE = b"__LARGE_BYTES__"
_LARGE_BYTES = 1024
_BYTES_A_VALUE = 64


class Tokens:
    """Distinct values and their counts: all of them, then the most frequent, and a sketch of how many there are.

    Args:
        limit: most distinct values that are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: DistinctCounts | None = None
        self._unique: Any = None
        self._pending: list[DistinctCounts] = []
        self._waiting = 0

    def add(self, counts: DistinctCounts) -> None:
        """Adds distinct values."""
        if not len(counts):
            return
        if self._unique is not None:
            self._unique.AddValues(_hashable(counts.values))
        self._pending.append(counts)
        self._waiting += len(counts)
        if self._waiting > max(self.limit, 1 << 15):
            self.settle()

    def settle(self) -> None:
        """Takes in what waits."""
        waiting = [*([self.counts] if self.counts is not None else []), *self._pending]
        self._pending, self._waiting = [], 0
        if not waiting:
            return
        self.counts = merged(waiting)
        limit_bytes = self.limit * _BYTES_A_VALUE
        if len(self.counts) > self.limit or _text_bytes(self.counts) > limit_bytes:
            if self._unique is None:
                self._unique = KmvSketch(UNIQUE_HASHES)
                self._unique.AddValues(_hashable(self.counts.values))
            self.counts = self.counts.cut(max(self.limit // 4, 1024), limit_bytes // 4)

    def merge(self, other: Tokens) -> None:
        """Adds another state."""
        self.settle()
        other.settle()
        if other._unique is not None:
            if self._unique is None:
                self._unique = KmvSketch(UNIQUE_HASHES)
                if self.counts is not None:
                    self._unique.AddValues(_hashable(self.counts.values))
            self._unique.Merge(other._unique)
            if other.counts is not None:
                self._pending.append(other.counts)
        elif other.counts is not None:
            self.add(other.counts)
        self.settle()

    @property
    def exact(self) -> bool:
        """Whether nothing was dropped."""
        return self._unique is None

    @property
    def unique(self) -> int:
        """Number of distinct values, from the sketch where not `exact`."""
        self.settle()
        if self._unique is not None:
            return int(self._unique.Estimate())
        return 0 if self.counts is None else len(self.counts)

    def arrays(self, prefix: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Returns (arrays, JSON values)."""
        self.settle()
        if self.counts is None:
            return {}, {}
        found = self.counts.arrays(prefix)
        if self._unique is not None:
            found[f"{prefix}unique"] = np.frombuffer(self._unique.Serialize(), np.uint8)
        return found, {"error": self.counts.error, "dropped": self.counts.dropped}

    @staticmethod
    def of_arrays(arrays: dict[str, np.ndarray], values: Mapping[str, Any], prefix: str, limit: int) -> Tokens:
        """Returns the state that gave arrays and values."""
        state = Tokens(limit)
        if f"{prefix}counts" in arrays:
            state.counts = from_arrays(arrays, prefix, values["error"], values["dropped"])
        if f"{prefix}unique" in arrays:
            state._unique = KmvSketch.Deserialize(arrays[f"{prefix}unique"].tobytes())
        return state


@dataclasses.dataclass
class TextState:
    """All strings of a feature.

    Attributes:
        tokens: distinct values; longer ones than 1 KiB by their hash.
        count: values.
        total_bytes, low_bytes, high_bytes: of the values.
        invalid: values that are not UTF-8.
    """

    tokens: Tokens
    count: int = 0
    total_bytes: int = 0
    low_bytes: int | None = None
    high_bytes: int = 0
    invalid: int = 0

    def add(self, values: pa.Array, weights: np.ndarray | None, text: bool) -> None:
        """Adds large_binary values without nulls; `text` says that they are UTF-8 by their type."""
        if not len(values):
            return
        sizes = pc.binary_length(values).to_numpy(zero_copy_only=False)
        high = int(sizes.max())
        if high > _LARGE_BYTES:
            values = _hashed(values, sizes)
        self.count += len(values)
        self.total_bytes += int(sizes.sum(dtype=np.int64))
        low = int(sizes.min())
        self.low_bytes = low if self.low_bytes is None else min(self.low_bytes, low)
        self.high_bytes = max(self.high_bytes, high)
        counts = distinct(values, weights)
        self.tokens.add(counts)
        if not text:
            self.invalid += _invalid(counts)

    def merge(self, other: TextState) -> None:
        """Adds another state."""
        self.tokens.merge(other.tokens)
        for name in ("count", "total_bytes", "invalid"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.low_bytes = min((e for e in (self.low_bytes, other.low_bytes) if e is not None), default=None)
        self.high_bytes = max(self.high_bytes, other.high_bytes)

    def encode(self, prefix: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Returns (arrays, JSON values)."""
        arrays, tokens = self.tokens.arrays(prefix)
        names = ("count", "total_bytes", "low_bytes", "high_bytes", "invalid")
        return arrays, {**{name: getattr(self, name) for name in names}, "tokens": tokens}

    @staticmethod
    def decode(arrays: dict[str, np.ndarray], values: Mapping[str, Any], prefix: str, limit: int) -> TextState:
        """Returns the state that gave arrays and values."""
        plain = {name: value for name, value in values.items() if name != "tokens"}
        return TextState(Tokens.of_arrays(arrays, values["tokens"], prefix, limit), **plain)


def is_utf8(value: bytes) -> bool:
    """Returns whether bytes are UTF-8; those that stand for a long value are not looked into."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _hashed(values: pa.Array, sizes: np.ndarray) -> pa.Array:
    """Puts a hash in the place of long values: what is kept of a value is bounded, and distinct ones stay distinct."""
    found = values.to_pylist()
    for at in np.flatnonzero(sizes > _LARGE_BYTES).tolist():
        valid = b"t" if is_utf8(found[at]) else b"\xff"
        found[at] = LARGE + valid + hashlib.blake2b(found[at], digest_size=16).hexdigest().encode()
    return pa.array(found, pa.large_binary())


def _invalid(counts: DistinctCounts) -> int:
    try:
        counts.values.cast(pa.large_string())
        return 0
    except pa.ArrowInvalid:
        return sum(c for v, c in zip(counts.values.to_pylist(), counts.counts.tolist()) if not is_utf8(v))


def _hashable(values: pa.Array) -> pa.Array:
    return values if pa.types.is_large_binary(values.type) else pc.cast(values, pa.string()).cast(pa.large_binary())


def _text_bytes(counts: DistinctCounts) -> int:
    if not pa.types.is_large_binary(counts.values.type):
        return 0
    return int(pc.sum(pc.binary_length(counts.values)).as_py() or 0)
