"""L-moments for the Tukey HH parameters, of the whole data while it fits, else of large sorted chunks.

TFT estimates the four L-moments of each batch and averages the estimates, so its result depends on how the data was
batched. Here all values are gathered, sorted, and estimated as one sample, as TFT would with one batch; past
`EXACT_VALUES` values a state keeps the weighted averages of large chunks, which is TFT's way with larger batches.

J. R. M. Hosking, "L-Moments: Analysis and Estimation of Distributions Using Linear Combinations of Order Statistics", 1990.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.framing import decode_state, encode_state
from transforms.tft.combiner_facts import l_moments_dtype

__all__ = ["EXACT_VALUES", "LMomentsAccumulator", "LMomentsState", "l_moments"]

EXACT_VALUES = 1 << 22
_NONE = np.zeros((4, 2))  # of each order: number of subsets that the estimate stands for, the estimate


@dataclasses.dataclass(kw_only=True)
class LMomentsState:
    """Values that wait, and what those came to that were too many.

    Attributes:
        chunks: of each element of the output, the values of each batch.
        done: of each element, (4, 2) averages of the chunks that were reduced.
        rows: rows in the chunks.
    """

    chunks: list[list[np.ndarray]]
    done: list[np.ndarray]
    rows: int = 0


class LMomentsAccumulator(Accumulator):
    """Does TFT's _LMomentsCombiner of all values of a tensor, or of each element of a dense tensor.

    Args:
        combiner: TFT's combiner, for its last step.
        dtype: numpy dtype name of the outputs.
        shape: of the outputs.
    """

    name = "l-moments"
    wants_raw = True

    def __init__(self, combiner: Any, dtype: str, shape: tuple[int, ...]) -> None:
        self.combiner, self.dtype, self.shape = combiner, dtype, shape
        self.size = int(np.prod(shape, dtype=np.int64))

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> LMomentsAccumulator | None:
        """Returns the accumulator, or None for elements of sparse tensors and of unknown shapes."""
        reduction = source.reduction
        if reduction is None or reduction.name != "reduce_batch_count_l_moments":
            return None
        dtype = l_moments_dtype(operation.combiner)
        if reduction.arguments["reduce_instance_dims"]:
            return cls(operation.combiner, dtype, ())
        shape = reduction.shapes[0]
        if reduction.kinds[0] != "dense" or shape is None or not 0 < np.prod([size or 0 for size in shape[1:]]) <= 64:
            return None
        return cls(operation.combiner, dtype, tuple(int(each or 0) for each in shape[1:]))

    def create(self) -> LMomentsState:
        """Returns an empty state."""
        return LMomentsState(chunks=[[] for _ in range(self.size)], done=[_NONE] * self.size)

    def update(self, state: LMomentsState, arrays: Sequence[Any]) -> LMomentsState:
        """Adds a batch."""
        values = arrays[0].to_numpy(zero_copy_only=False) if isinstance(arrays[0], pa.Array) else arrays[0]
        columns = values.reshape(-1, self.size)
        for index, chunks in enumerate(state.chunks):
            chunks.append(columns[:, index].copy())
        state.rows += len(columns)
        if state.rows > EXACT_VALUES // self.size:
            self._reduce(state)
        return state

    def merge(self, states: Sequence[LMomentsState]) -> LMomentsState:
        """Joins the values while they are few enough."""
        merged = self.create()
        for state in states:
            merged.rows += state.rows
            for index in range(self.size):
                merged.chunks[index] += state.chunks[index]
                merged.done[index] = _average([merged.done[index], state.done[index]])
            if merged.rows > EXACT_VALUES // self.size:
                self._reduce(merged)
        return merged

    def encode(self, state: LMomentsState) -> list[Part]:
        """Returns the sorted values and the averages of reduced chunks as one part."""
        arrays = {str(index): np.sort(_joined(chunks)) for index, chunks in enumerate(state.chunks)}
        arrays["done"] = np.array(state.done)
        return [Part(0, encode_state(self.name, self.version, arrays, {"rows": state.rows}))]

    def decode(self, part: Part) -> LMomentsState:
        """Returns the state of a part."""
        arrays, values = decode_state(self.name, self.version, part.blob)
        chunks = [[arrays[str(index)]] for index in range(self.size)]
        return LMomentsState(chunks=chunks, rows=values["rows"], done=list(arrays["done"]))

    def finish(self, states: Sequence[LMomentsState]) -> list[np.ndarray]:
        """Returns [location, scale, left parameter, right parameter]."""
        state = self.merge(states)
        self._reduce(state)
        done = np.array(state.done).reshape((*self.shape, 4, 2)).astype(self.dtype)
        parts = [done[..., order, 0] for order in range(4)] + [done[..., order, 1] for order in range(4)]
        empty = self.combiner.create_accumulator()
        return list(self.combiner.extract_output(type(empty)(*(np.asarray(part) for part in parts))))

    def _reduce(self, state: LMomentsState) -> None:
        for index, chunks in enumerate(state.chunks):
            values = _joined(chunks)
            if values.size:
                state.done[index] = _average([state.done[index], np.nan_to_num(l_moments(np.sort(values)))])
            chunks.clear()
        state.rows = 0


def l_moments(ordered: np.ndarray) -> np.ndarray:
    """Returns (4, 2) float64: of orders 1 to 4 the number of subsets of a sample and the unbiased estimate.

    Args:
        ordered: values in ascending order, at least one; with a NaN or an infinite one the estimates are NaN, which counts
            as 0, as TFT has it.
    """
    n = ordered.size
    x: np.ndarray = ordered.astype(np.float64)
    rank: np.ndarray = np.arange(n, dtype=np.float64)
    weights, means = np.ones(n), []
    for order in range(4):  # probability-weighted moments b0 to b3
        means.append(float(np.dot(weights, x)) / n)
        weights = weights * (rank - order) / (n - 1 - order) if n - 1 - order > 0 else np.zeros(n)
    b0, b1, b2, b3 = means
    estimates = [b0, 2 * b1 - b0, 6 * b2 - 6 * b1 + b0, 20 * b3 - 30 * b2 + 12 * b1 - b0]
    subsets = np.cumprod([(n - order) / (order + 1) for order in range(4)])
    return np.array([[max(count, 0.0), estimate if count > 0 else 0.0] for count, estimate in zip(subsets, estimates)])


def _average(parts: Sequence[np.ndarray]) -> np.ndarray:
    counts = np.sum([part[:, 0] for part in parts], axis=0)
    totals = np.sum([part[:, 0] * part[:, 1] for part in parts], axis=0)
    return np.stack([counts, np.divide(totals, counts, out=np.zeros(4), where=counts > 0)], axis=1)


def _joined(chunks: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
