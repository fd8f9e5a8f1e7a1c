"""A keyed permutation of 0..size-1 in which any single place is computed on its own.

A Feistel network over Z_a x Z_b with a * b just above `size` (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
2002): each round adds a keyed hash of one half to the other half. The few values that fall outside are sent through
again until they fall inside (cycle walking). With a and b near the square root, fewer than 3 values in sqrt(size) walk.
The rounds run in `engine/native/feed/feistel.cc`.
"""

from __future__ import annotations

import math

import numpy as np

from engine import _native

__all__ = ["Feistel", "derive_key", "mix"]

_MASK = (1 << 64) - 1
_ROUNDS = 6
_MIN_SIDE = 8  # below 64 values two halves of 2 or 3 values mix badly: the permutation would miss some orders


def derive_key(*parts: int) -> int:
    """Returns a 64-bit key that depends on every part and on their order (splitmix64 finaliser, chained)."""
    state = 0x243F6A8885A308D3
    for part in parts:
        state = (state + (part & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def mix(numbers: np.ndarray) -> np.ndarray:
    """Returns splitmix64's finaliser of each number: every bit of the result depends on every bit of the number.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.

    Args:
        numbers: uint64 [n].

    Returns:
        uint64 [n].
    """
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


class Feistel:
    """Permutation of 0..size-1 chosen by a key; needs no memory that grows with `size`.

    Args:
        size: number of values, 1 to 2**62.
        key: 64-bit key, see `derive_key`.
    """

    __slots__ = ("_native", "size")

    def __init__(self, size: int, key: int) -> None:
        assert 0 < size <= 1 << 62, size
        self.size = size
        b = max(_MIN_SIDE, math.isqrt(size - 1) + 1)
        a = max(_MIN_SIDE, -(-size // b))
        self._native = _native.Feistel(size, a, b, [derive_key(key, i) for i in range(_ROUNDS)])

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Returns the images of the values.

        Args:
            values: int64 or uint64 [n], each in 0..size-1.

        Returns:
            int64 [n], each in 0..size-1.
        """
        images: np.ndarray = self._native.images(values.astype(np.uint64, copy=False))
        return images

    def range(self, start: int, stop: int) -> np.ndarray:
        """Returns the images of start..stop-1 as int64 [stop - start]."""
        images: np.ndarray = self._native.range(start, stop)
        return images
