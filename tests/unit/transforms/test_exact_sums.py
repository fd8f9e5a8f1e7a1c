"""Exact sums against Python's own rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from transforms.accumulators.numeric.exact import SCALE_BITS, exact_ratio, exact_sum, exact_sum_of_squares
from transforms.accumulators.numeric.moments import MomentsAccumulator

RNG = np.random.default_rng(5)
ARRAYS = {
    "empty": np.zeros(0, np.float32),
    "ordinary": RNG.normal(size=1000).astype(np.float32),
    "wide": (RNG.normal(size=1000) * 10.0 ** RNG.integers(-30, 19, 1000)).astype(np.float32),
    "denormal": np.array([1e-45, -3e-42, 1e-38, 1.0], np.float32),
    "cancelling": np.array([1e30, 1.0, -1e30, 1e-30], np.float32),
    "double": RNG.normal(size=500) * 10.0 ** RNG.integers(-140, 140, 500),
    "integers": RNG.integers(-(1 << 62), 1 << 62, 300),
    "large": RNG.normal(size=100_000).astype(np.float32),
    "many small integers below 0": RNG.integers(-9, 0, 3_000_000),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_exact_sum_of_any_floats_equals_rational_sum(name):
    array = ARRAYS[name]
    values = array.tolist()
    expected = Fraction(sum(values)) if array.dtype.kind == "i" else sum(map(Fraction, values), Fraction(0))
    assert Fraction(exact_sum(array), 1 << SCALE_BITS) == expected


@pytest.mark.parametrize("name", [name for name in ARRAYS if "integers" not in name])
def test_exact_sum_of_squares_of_any_floats_equals_rational_sum(name):
    array = ARRAYS[name]
    expected = sum((Fraction(value) ** 2 for value in array.tolist()), Fraction(0))
    assert Fraction(exact_sum_of_squares(array), 1 << SCALE_BITS) == expected


def test_exact_sum_of_parts_in_any_order_is_the_sum_of_the_whole():
    array = ARRAYS["wide"]
    parts = np.array_split(RNG.permutation(array), 13)
    assert sum(exact_sum(part) for part in parts) == exact_sum(array)


def test_exact_ratio_too_large_for_a_float_is_infinite():
    assert exact_ratio(1 << 3000, 1) == math.inf
    assert exact_ratio(-(1 << 3000), 1) == -math.inf


def test_moments_with_nan_and_infinity_leave_them_out_and_survive_encoding():
    values = np.array([1.0, np.nan, 2.0, np.inf, 6.0, -np.inf], np.float32)
    accumulator = MomentsAccumulator("float32")
    state = accumulator.update(accumulator.create(), [values])
    (part,) = accumulator.encode(state)
    mean, variance = accumulator.finish([accumulator.decode(part)])
    assert mean == np.float32(3.0)
    assert variance == np.float32(14.0 / 3.0)


def test_moments_of_nothing_are_zero():
    accumulator = MomentsAccumulator("float32")
    assert [value.item() for value in accumulator.finish([])] == [0.0, 0.0]
