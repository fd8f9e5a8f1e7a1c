"""Mean and variance of all values, exact until the last rounding.

TFT reduces each batch in float32 and combines the batches' means, so its last bits depend on how the data was batched; and in
float16, where sums and counts beyond 65,504 are infinite.
Here count, sum and sum of squares are exact integers; mean and variance are each rounded once. The result lies within
TFT's own rounding error of TFT's, and is the same for any batches, splits, workers and runners.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.framing import decode_state, encode_state
from transforms.accumulators.numeric.arrays import as_numpy
from transforms.accumulators.numeric.exact import (
    SCALE_BITS,
    exact_moments,
    exact_ratio,
    exact_sum,
    exact_sum_of_squares,
)
from transforms.tft.combiner_facts import moment_facts

__all__ = ["MomentsAccumulator", "as_dtype", "mean_and_variance"]

# Of each output element: number of finite values, their sum, the sum of their squares, the sums times 2**SCALE_BITS.
_State = list[tuple[int, ...]]
_MOST_ELEMENTS = 256  # beyond, TFT's own combiner takes the batch as a whole


class MomentsAccumulator(Accumulator):
    """Does TFT's WeightedMeanAndVarCombiner without weights, of all values or of each element of a dense vector.

    Args:
        dtype: numpy dtype name of the outputs.
        shape: of the outputs: () where all dimensions are reduced.
    """

    name = "moments"
    wants_raw = True
    order_free = True

    def __init__(self, dtype: str, shape: tuple[int, ...] = ()) -> None:
        self.dtype = dtype
        self.shape = shape
        self.size = int(np.prod(shape, dtype=np.int64))

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> MomentsAccumulator | None:
        """Returns the accumulator, or None for weighted moments and for vectors of unknown or large size."""
        reduction = source.reduction
        if reduction is None or reduction.name != "reduce_batch_count_mean_and_var":
            return None
        facts = moment_facts(operation.combiner)
        if not facts.plain_variance:
            return None
        dtype = facts.dtype
        if reduction.arguments["reduce_instance_dims"]:
            return cls(dtype)
        shape = reduction.shapes[0]
        if reduction.kinds[0] != "dense" or shape is None or len(shape) < 2 or None in shape[1:]:
            return None
        inner = tuple(int(each or 0) for each in shape[1:])
        return cls(dtype, inner) if 0 < np.prod(inner) <= _MOST_ELEMENTS else None

    def create(self) -> _State:
        """Returns zero counts and sums."""
        return [(0, 0, 0)] * self.size

    def update(self, state: _State, arrays: Sequence[Any]) -> _State:
        """Adds a batch; NaN and infinite values are left out, as TFT leaves them out."""
        columns = as_numpy(arrays[0]).reshape(-1, self.size)
        return [_add(found, columns[:, index]) for index, found in enumerate(state)]

    def merge(self, states: Sequence[_State]) -> _State:
        """Returns the sums of the states."""
        return [tuple(sum(each) for each in zip(*column)) for column in zip(*states)]

    def encode(self, state: _State) -> list[Part]:
        """Returns the state as one part; the integers as hexadecimal text."""
        values = {"moments": [[hex(value) for value in each] for each in state]}
        return [Part(0, encode_state(self.name, self.version, {}, values))]

    def decode(self, part: Part) -> _State:
        """Returns the state of a part."""
        _, values = decode_state(self.name, self.version, part.blob)
        return [tuple(int(value, 16) for value in each) for each in values["moments"]]

    def finish(self, states: Sequence[_State]) -> list[np.ndarray]:
        """Returns [mean, variance]; zeros where there was no finite value."""
        results = [mean_and_variance(*each) for each in (self.merge(states) if states else self.create())]
        mean, variance = (np.array(column).reshape(self.shape) for column in zip(*results))
        return as_dtype(mean, variance, self.dtype)


def mean_and_variance(count: int, total: int, squares: int) -> tuple[float, float]:
    """Returns mean and variance, each rounded once; zeros where there is no value."""
    if not count:
        return 0.0, 0.0
    spread = ((count * squares) << SCALE_BITS) - total * total
    return exact_ratio(total, count << SCALE_BITS), exact_ratio(spread, (count * count) << (2 * SCALE_BITS))


def as_dtype(mean: np.ndarray, variance: np.ndarray, dtype: str) -> list[np.ndarray]:
    """Returns [mean, variance] in a type; NaN for a variance too large for it.

    With infinity there every z-score would be 0, a wrong number that looks like a right one.
    """
    with np.errstate(over="ignore"):
        mean, variance = mean.astype(dtype), variance.astype(dtype)
    return [mean, np.where(np.isinf(variance), np.array(np.nan, dtype), variance)]


def _add(state: tuple[int, ...], values: np.ndarray) -> tuple[int, ...]:
    if values.dtype.kind == "f":
        count, total, squares = exact_moments(values)
        return state[0] + count, state[1] + total, state[2] + squares
    return state[0] + values.size, state[1] + exact_sum(values), state[2] + exact_sum_of_squares(values)
