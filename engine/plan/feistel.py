"""A keyed permutation of 0..size-1 in which any single place is computed on its own.

A Feistel network over Z_a x Z_b with a * b just above `size` (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
2002): each round adds a keyed hash of one half to the other half. The few values that fall outside are sent through
again until they fall inside (cycle walking). With a and b near the square root, fewer than 3 values in sqrt(size) walk.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Feistel", "derive_key"]

_MASK = (1 << 64) - 1
_ROUNDS = 6
_MIN_SIDE = 8  # below 64 values two halves of 2 or 3 values mix badly: the permutation would miss some orders
_TILE = 16384  # values worked on at a time: the temporaries stay in the cache
_M1, _M2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_SHIFT_32, _SHIFT_29 = np.uint64(32), np.uint64(29)


def derive_key(*parts: int) -> int:
    """Returns a 64-bit key that depends on every part and on their order (splitmix64 finaliser, chained)."""
    state = 0x243F6A8885A308D3
    for part in parts:
        state = (state + (part & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


class Feistel:
    """Permutation of 0..size-1 chosen by a key; needs no memory that grows with `size`.

    Args:
        size: number of values, 1 to 2**62.
        key: 64-bit key, see `derive_key`.
    """

    __slots__ = ("_a", "_b", "_keys", "size")

    def __init__(self, size: int, key: int) -> None:
        assert 0 < size <= 1 << 62, size
        self.size = size
        b = max(_MIN_SIDE, math.isqrt(size - 1) + 1)
        a = max(_MIN_SIDE, -(-size // b))
        self._a, self._b = np.uint64(a), np.uint64(b)
        self._keys = tuple(np.uint64(derive_key(key, i)) for i in range(_ROUNDS))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Returns the images of the values.

        Args:
            values: int64 or uint64 [n], each in 0..size-1.

        Returns:
            int64 [n], each in 0..size-1.
        """
        if self.size == 1:
            return np.zeros(len(values), np.int64)
        out: np.ndarray = np.empty(len(values), np.uint64)
        for start in range(0, len(values), _TILE):
            self._walk(values[start : start + _TILE].astype(np.uint64), out[start : start + _TILE])
        return out.view(np.int64)

    def range(self, start: int, stop: int) -> np.ndarray:
        """Returns the images of start..stop-1 as int64 [stop - start]."""
        return self(np.arange(start, stop, dtype=np.uint64))

    def _walk(self, values: np.ndarray, out: np.ndarray) -> None:
        out[:] = self._once(values)
        outside = np.flatnonzero(out >= np.uint64(self.size))
        while len(outside):
            walked = self._once(out[outside])
            out[outside] = walked
            outside = outside[walked >= np.uint64(self.size)]

    def _once(self, values: np.ndarray) -> np.ndarray:
        left = values // self._b
        right = values - left * self._b
        for i in range(0, _ROUNDS, 2):
            _add_hash(left, right, self._keys[i], self._a)
            _add_hash(right, left, self._keys[i + 1], self._b)
        left *= self._b
        left += right
        return left


def _add_hash(half: np.ndarray, other: np.ndarray, key: np.uint64, modulus: np.uint64) -> None:
    mixed = other ^ key
    mixed *= _M1
    mixed ^= mixed >> _SHIFT_29
    mixed *= _M2
    mixed >>= _SHIFT_32
    # A 32-bit hash times the modulus, its upper half taken: uniform in 0..modulus-1 without a division.
    mixed *= modulus
    mixed >>= _SHIFT_32
    half += mixed
    half -= (half >= modulus) * modulus
