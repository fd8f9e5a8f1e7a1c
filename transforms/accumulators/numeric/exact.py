"""Exact sums of floating-point arrays: the result is the same in whatever order and grouping the values come.

A float is an integer times a power of two. Natively, integers of one power are summed as integers, without the interpreter's lock, and
come back as one Python integer. Sums by group are cut into digits of 32 bits at fixed places (powers of 2³²), so that each digit array
holds integers below 2³² whose float64 sum is exact for up to 2²⁰ values.

The idea of fixed places for reproducible sums: J. Demmel and H. D. Nguyen, "Parallel Reproducible Summation", 2015.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import transforms._native as _native

__all__ = ["SCALE_BITS", "exact_moments", "exact_ratio", "exact_sum", "exact_sum_of_squares", "exact_sums_by_group"]

SCALE_BITS = 2176  # as in native/exact_sums.h: even the square of the smallest float64 is whole times 2**SCALE_BITS
_DIGIT_BITS = 32


def exact_moments(values: np.ndarray) -> tuple[int, int, int]:
    """Returns (number of finite values, their sum, the sum of their squares); sums times 2**SCALE_BITS.

    Args:
        values: floats, any shape; NaN and infinite ones are left out. Integers as float64.
    """
    flat = np.ascontiguousarray(values.reshape(-1))
    if flat.dtype == np.float32:
        count, total, squares = _native.exact_sums_float32(flat)
    else:
        count, total, squares = _native.exact_sums_float64(flat.astype(np.float64, copy=False))
    return count, int.from_bytes(total, "little", signed=True), int.from_bytes(squares, "little", signed=True)


def exact_sum(values: np.ndarray) -> int:
    """Returns the sum of finite values, times 2**SCALE_BITS.

    Args:
        values: finite floats or integers, any shape.
    """
    if values.dtype.kind in "iu":
        return _integer_sum(values.reshape(-1)) << SCALE_BITS
    return exact_moments(values)[1]


def exact_sum_of_squares(values: np.ndarray) -> int:
    """Returns the sum of the squares of finite values, times 2**SCALE_BITS.

    Args:
        values: finite floats, any shape.
    """
    return exact_moments(values)[2]


def exact_sums_by_group(values: np.ndarray, groups: np.ndarray, num_groups: int) -> tuple[list[int], list[int]]:
    """Returns for each group the sum and the sum of squares of its values, times 2**SCALE_BITS.

    Args:
        values: finite float32, one dimension.
        groups: index of the group of each.
        num_groups: number of groups.
    """
    sums, squares = [0] * num_groups, [0] * num_groups
    for at in range(0, len(values), 1 << 20):
        chunk: np.ndarray = values[at : at + (1 << 20)].astype(np.float64)
        ids = groups[at : at + (1 << 20)]
        _add_groups(squares, chunk * chunk, ids)
        _add_groups(sums, chunk, ids)
    return sums, squares


def exact_ratio(numerator: int, denominator: int) -> float:
    """Returns the quotient of two integers rounded once to float64; infinite where it is too large."""
    try:
        return numerator / denominator
    except OverflowError:
        return float("inf") if (numerator > 0) == (denominator > 0) else float("-inf")


def _integer_sum(flat: np.ndarray) -> int:
    wide = flat.astype(np.int64) if flat.dtype != np.uint64 else flat
    # By halves of 32 bits, whose sums 64 bits hold for 2³¹ values. Not as float64: low halves of negative values are nearly 2³², and 2²¹
    # of them are more than its 53 bits hold.
    low = int((wide & type(wide[0])(0xFFFFFFFF)).sum()) if len(wide) else 0
    high = int((wide >> type(wide[0])(32)).sum()) if len(wide) else 0
    return (high << 32) + low


def _add_groups(totals: list[int], rest: np.ndarray, groups: np.ndarray) -> None:
    for place, digits in _digits(rest):
        found = np.bincount(groups, weights=digits, minlength=len(totals))
        for index in np.flatnonzero(found).tolist():
            totals[index] += int(found[index]) << (place + SCALE_BITS)


def _digits(rest: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (place, digits) with the highest place first, destroying the array: it is the sum of digits * 2**place."""
    largest = float(np.abs(rest).max(initial=0.0))
    while largest:
        place = (int(np.frexp(largest)[1]) - 1) // _DIGIT_BITS * _DIGIT_BITS
        digits = np.rint(np.ldexp(rest, -place)) if place < -960 else np.rint(rest * 2.0**-place)
        yield place, digits
        rest -= np.ldexp(digits, place) if place < -960 else digits * 2.0**place
        largest = float(np.abs(rest).max())
