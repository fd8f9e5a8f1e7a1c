"""Numbers of a feature: moments by exact sums, and their distribution, exact until there are too many distinct values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.accumulators.numeric.exact import SCALE_BITS, exact_moments, exact_ratio, exact_sum
from transforms.profiling.distinct import DistinctCounts, distinct
from transforms.profiling.distribution import Distribution

__all__ = ["NumberState"]

_SAFE = float(1 << 53)
_LARGEST = float(np.finfo(np.float64).max)


@dataclasses.dataclass
class NumberState:
    """All numbers of a feature.

    Attributes:
        values: distribution of all but NaN.
        count: values, without NaN.
        finite: of them, those that are finite; the sums are over these.
        nan: values that are NaN.
        zeros: values that are 0.
        total, squares: exact sums times 2**SCALE_BITS.
        low, high: least and largest value; None without values.
        weighted: exact sums, times 2**SCALE_BITS, of w, w x and w x² of finite values, each product rounded to float64, and of
            the weight of NaN; zeros without weights.
    """

    values: Distribution
    count: int = 0
    finite: int = 0
    nan: int = 0
    zeros: int = 0
    total: int = 0
    squares: int = 0
    low: float | int | None = None
    high: float | int | None = None
    weighted: tuple[int, int, int, int] = (0, 0, 0, 0)

    def add(self, values: pa.Array, weights: np.ndarray | None) -> None:
        """Adds values without nulls."""
        array = values.to_numpy(zero_copy_only=False)
        if array.dtype.kind == "f":
            wrong = np.isnan(array)
            if wrong.any():
                self.nan += int(wrong.sum())
                if weights is not None:
                    self.weighted = (*self.weighted[:3], self.weighted[3] + exact_sum(weights[wrong]))
                    weights = weights[~wrong]
                array = array[~wrong]
                values = pa.array(array)
        if not len(array):
            return
        counts = distinct(values, weights)
        self.values.add(counts)
        self.count += len(array)
        self.zeros += int(np.count_nonzero(array == 0))
        low, high = array.min().item(), array.max().item()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        self._add_moments(array, counts, weights)

    def _add_moments(self, array: np.ndarray, counts: DistinctCounts, weights: np.ndarray | None) -> None:
        if array.dtype.kind == "f" and not (np.isfinite(array[0]) and np.isfinite(array).all()):
            finite = np.isfinite(array)
            array, weights = array[finite], None if weights is None else weights[finite]
            count, total, squares = exact_moments(array)
            self.finite, self.total, self.squares = self.finite + count, self.total + total, self.squares + squares
        else:
            self.finite += len(array)
            total, squares = _sums(array, counts)
            self.total, self.squares = self.total + total, self.squares + squares
        if weights is not None:
            wide = array.astype(np.float64)
            weight, first, second, nan = self.weighted
            # A product is rounded by itself, so it is the same in whatever batch its row comes; what is too large is the largest float.
            with np.errstate(over="ignore"):
                products = [np.clip(each, -_LARGEST, _LARGEST) for each in (weights * wide, weights * wide * wide)]
            self.weighted = (
                weight + exact_sum(weights),
                first + exact_sum(products[0]),
                second + exact_sum(products[1]),
                nan,
            )

    def merge(self, other: NumberState) -> None:
        """Adds another state."""
        self.values.merge(other.values)
        for name in ("count", "finite", "nan", "zeros", "total", "squares"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        lows = [each for each in (self.low, other.low) if each is not None]
        highs = [each for each in (self.high, other.high) if each is not None]
        self.low, self.high = min(lows, default=None), max(highs, default=None)
        self.weighted = tuple(a + b for a, b in zip(self.weighted, other.weighted))  # type: ignore[assignment]

    def moments(self) -> tuple[float, float]:
        """Returns mean and standard deviation of the finite values, each rounded once; NaN without any."""
        if not self.finite:
            return float("nan"), float("nan")
        spread = ((self.finite * self.squares) << SCALE_BITS) - self.total * self.total
        variance = exact_ratio(spread, (self.finite * self.finite) << (2 * SCALE_BITS))
        return exact_ratio(self.total, self.finite << SCALE_BITS), float(np.sqrt(variance))

    @property
    def nan_weight(self) -> float:
        """Weight of the values that are NaN."""
        return exact_ratio(self.weighted[3], 1 << SCALE_BITS)

    def weighted_moments(self) -> tuple[float, float]:
        """Returns mean and standard deviation by weight; NaN where all weights are 0."""
        weight, first, second, _ = self.weighted
        if weight <= 0:
            return float("nan"), float("nan")
        variance = exact_ratio(max(weight * second - first * first, 0), weight * weight)
        return exact_ratio(first, weight), float(np.sqrt(variance))

    def encode(self, prefix: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Returns (arrays, JSON values)."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in ("count", "finite", "nan", "zeros")}
        plain["weighted"] = [hex(each) for each in self.weighted]
        ends = [
            None if each is None else each.hex() if isinstance(each, float) else each for each in (self.low, self.high)
        ]
        return self.values.arrays(prefix), {**plain, "sums": [hex(self.total), hex(self.squares)], "ends": ends}

    @staticmethod
    def decode(arrays: dict[str, np.ndarray], values: Mapping[str, Any], prefix: str, limit: int) -> NumberState:
        """Returns the state that gave arrays and values."""
        plain = {name: values[name] for name in ("count", "finite", "nan", "zeros")}
        total, squares = (int(each, 16) for each in values["sums"])
        low, high = (float.fromhex(each) if isinstance(each, str) else each for each in values["ends"])
        return NumberState(
            Distribution.of_arrays(arrays, prefix, limit),
            **plain,
            total=total,
            squares=squares,
            low=low,
            high=high,
            weighted=tuple(int(each, 16) for each in values["weighted"]),  # type: ignore[arg-type]
        )


def _sums(array: np.ndarray, counts: DistinctCounts) -> tuple[int, int]:
    """Returns exact sums of values and squares, times 2**SCALE_BITS."""
    largest = max(abs(float(array.min())), abs(float(array.max())))
    whole = array.dtype.kind != "f" or (largest < _SAFE and bool((array == np.rint(array)).all()))
    if not whole:
        return exact_moments(array)[1:]
    if largest * largest * len(array) < _SAFE:
        wide: Any = array.astype(np.int64)
        return int(wide.sum()) << SCALE_BITS, int((wide * wide).sum()) << SCALE_BITS
    numbers = counts.values.to_numpy(zero_copy_only=False)
    pairs = list(zip((int(each) for each in numbers.tolist()), counts.counts.tolist()))
    return sum(v * c for v, c in pairs) << SCALE_BITS, sum(v * v * c for v, c in pairs) << SCALE_BITS
