"""Exact sums of weights: integer limbs, so that neither batch nor split nor order of merging changes a bit.

A float weight w is floor(w) and two limbs of 32 bits after the point: w = a + b / 2**32 + c / 2**64. That is exact
for each float32 from 2**-40 up. Sums of the limbs are integer sums.
"""

from __future__ import annotations

import numpy as np

from engine.core.errors import DataError

__all__ = ["normalized_limbs", "split_weights", "sum_of_limbs"]

_UNIT = float(1 << 32)
_LIMIT = float(1 << 53)


def split_weights(weights: np.ndarray) -> np.ndarray:
    """Returns limbs int64 [1 or 3, weights]: one row for integer weights, three for float ones.

    Raises:
        DataError: when a weight is not finite or beyond ±2**53.
    """
    if weights.dtype.kind in "iub":
        return weights.astype(np.int64).reshape(1, -1)
    weights = weights.astype(np.float64)
    bad = ~(np.abs(weights) < _LIMIT)
    if bad.any():
        raise DataError(f"weights of a vocabulary must be finite and below 2**53, got {weights[bad][0]}")
    whole = np.floor(weights)
    rest = (weights - whole) * _UNIT
    middle = np.floor(rest)
    low = np.floor((rest - middle) * _UNIT)
    return np.stack([whole, middle, low]).astype(np.int64)


def normalized_limbs(limbs: np.ndarray) -> np.ndarray:
    """Returns the same sums with the lower limbs below 2**32, so that further sums stay far from overflow."""
    if len(limbs) == 1:
        return limbs
    whole, middle, low = limbs
    middle = middle + (low >> 32)
    return np.stack([whole + (middle >> 32), middle & 0xFFFFFFFF, low & 0xFFFFFFFF])


def sum_of_limbs(limbs: np.ndarray) -> np.ndarray:
    """Returns the sums: int64 for one limb, float64 for three."""
    if len(limbs) == 1:
        units: np.ndarray = limbs[0]
        return units
    whole, middle, low = normalized_limbs(limbs).astype(np.float64)
    total: np.ndarray = whole + (middle + low / _UNIT) / _UNIT
    return total
