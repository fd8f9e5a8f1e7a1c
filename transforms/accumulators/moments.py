"""Mean and variance of all values, exact until the last rounding.

TFT reduces each batch in float32 and combines the batches' means, so its last bits depend on how the data was batched.
Here count, sum and sum of squares are exact integers; mean and variance are each rounded once. The result lies within
TFT's own rounding error of TFT's, and is the same for any batches, splits, workers and runners.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.codec import decode_state, encode_state
from transforms.accumulators.exact import SCALE_BITS, exact_ratio, exact_sum, exact_sum_of_squares

__all__ = ["MomentsAccumulator"]

# (number of finite values, their sum, the sum of their squares), the sums times 2**SCALE_BITS
_State = tuple[int, int, int]


class MomentsAccumulator(Accumulator):
    """Does TFT's WeightedMeanAndVarCombiner where it reduces all values to one mean and one variance.

    Args:
        dtype: numpy dtype name of the outputs.
    """

    name = "moments"
    wants_raw = True

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> MomentsAccumulator | None:
        """Returns the accumulator for unweighted moments over all dimensions, else None."""
        combiner, reduction = operation.combiner, source.reduction
        if reduction is None or reduction.name != "reduce_batch_count_mean_and_var":
            return None
        if not reduction.arguments["reduce_instance_dims"] or not combiner._compute_variance:
            return None
        return None if combiner._compute_weighted else cls(np.dtype(combiner._output_numpy_dtype).name)

    def create(self) -> _State:
        """Returns zero counts and sums."""
        return 0, 0, 0

    def update(self, state: _State, arrays: Sequence[Any]) -> _State:
        """Adds a batch; NaN and infinite values are left out, as TFT leaves them out."""
        values = _as_numpy(arrays[0])
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                values = values[finite]
        return state[0] + values.size, state[1] + exact_sum(values), state[2] + exact_sum_of_squares(values)

    def merge(self, states: Sequence[_State]) -> _State:
        """Returns the sums of the states."""
        return tuple(sum(column) for column in zip(*states))

    def encode(self, state: _State) -> list[Part]:
        """Returns the state as one part; the integers as hexadecimal text."""
        values = {key: hex(value) for key, value in zip(("count", "sum", "squares"), state)}
        return [Part(0, encode_state(self.name, self.version, {}, values))]

    def decode(self, part: Part) -> _State:
        """Returns the state of a part."""
        _, values = decode_state(self.name, self.version, part.blob)
        return int(values["count"], 16), int(values["sum"], 16), int(values["squares"], 16)

    def finish(self, states: Sequence[_State]) -> list[np.ndarray]:
        """Returns [mean, variance]; zeros where there was no finite value."""
        count, total, squares = self.merge(states) if states else self.create()
        if not count:
            return [np.zeros((), self.dtype), np.zeros((), self.dtype)]
        mean = exact_ratio(total, count << SCALE_BITS)
        spread = ((count * squares) << SCALE_BITS) - total * total
        variance = exact_ratio(spread, (count * count) << (2 * SCALE_BITS))
        with np.errstate(over="ignore"):
            return [np.float64(mean).astype(self.dtype), np.float64(variance).astype(self.dtype)]


def _as_numpy(values: Any) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values
