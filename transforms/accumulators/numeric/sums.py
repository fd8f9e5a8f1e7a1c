"""Sums of all values, exact until the last rounding; 64-bit integers wrap as TensorFlow's do.

TFT adds a batch in the type of its values, so that narrow integers wrap, and float16 is infinite, wherever a batch is large enough. Here
they are added as what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.combiner import CombinerAccumulator
from transforms.accumulators.framing import decode_state, encode_state
from transforms.accumulators.numeric.exact import SCALE_BITS, exact_ratio, exact_sum
from transforms.tft.combiner_facts import sum_facts

__all__ = ["ElementSumAccumulator", "SumAccumulator"]

_SIGNED, _UNSIGNED = ("int8", "int16", "int32"), ("uint8", "uint16", "uint32")
# dtype of the values → of their sum, as TFT has it.
_WIDER = {**dict.fromkeys(_SIGNED, "int64"), **dict.fromkeys(_UNSIGNED, "uint64"), "float16": "float32"}
_SUMS = {"float32": "float32", "float64": "float64", "int64": "int64", "uint64": "uint64", **_WIDER}

# Exact sum of the finite values times 2**SCALE_BITS, and the float sum of the others (0, infinite or NaN).
_State = tuple[int, float]


class SumAccumulator(Accumulator):
    """Does TFT's NumPyCombiner where it sums all values of a tensor.

    Args:
        dtype: numpy dtype name of the output.
    """

    name = "sum"
    wants_raw = True

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> SumAccumulator | None:
        """Returns the accumulator for a full sum of numbers, else None."""
        reduction = source.reduction
        if reduction is None or reduction.name != "reduce_sum":
            return None
        facts = sum_facts(operation.combiner)
        known = facts.is_sum and _SUMS.get(reduction.dtypes[0]) == facts.dtypes[0]
        return cls(facts.dtypes[0]) if known else None

    def create(self) -> _State:
        """Returns zero."""
        return 0, 0.0

    def update(self, state: _State, arrays: Sequence[Any]) -> _State:
        """Adds a batch."""
        values = arrays[0].to_numpy(zero_copy_only=False) if isinstance(arrays[0], pa.Array) else arrays[0]
        special = state[1]
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                special += float(values[~finite].astype(np.float64).sum())
                values = values[finite]
        return state[0] + exact_sum(values), special

    def merge(self, states: Sequence[_State]) -> _State:
        """Returns the sum of the states."""
        return sum(state[0] for state in states), float(np.sum([state[1] for state in states]))

    def encode(self, state: _State) -> list[Part]:
        """Returns the state as one part."""
        values = {"sum": hex(state[0])}
        return [Part(0, encode_state(self.name, self.version, {"special": np.float64(state[1])}, values))]

    def decode(self, part: Part) -> _State:
        """Returns the state of a part."""
        arrays, values = decode_state(self.name, self.version, part.blob)
        return int(values["sum"], 16), float(arrays["special"])

    def finish(self, states: Sequence[_State]) -> list[np.ndarray]:
        """Returns [sum]."""
        total, special = self.merge(states) if states else self.create()
        if self.dtype in ("int64", "uint64"):
            wrapped = (total >> SCALE_BITS) & ((1 << 64) - 1)
            return [np.array(wrapped, np.uint64).astype(self.dtype)]
        with np.errstate(over="ignore"):
            value = special if special else exact_ratio(total, 1 << SCALE_BITS)
            return [np.float64(value).astype(self.dtype)]


class ElementSumAccumulator(CombinerAccumulator):
    """Does TFT's NumPyCombiner where it sums a dense tensor of narrow numbers by element, each batch in the type of the sum.

    Args:
        combiner: TFT's.
        shape: of a record's values.
    """

    name = "element_sum"
    wants_raw = True

    def __init__(self, combiner: Any, shape: tuple[int, ...]) -> None:
        super().__init__(combiner)
        self.shape = shape

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> ElementSumAccumulator | None:
        """Returns the accumulator for a sum over the rows of numbers that a batch could wrap, else None."""
        reduction = source.reduction
        if reduction is None or reduction.name != "reduce_sum_of_rows":
            return None
        facts = sum_facts(operation.combiner)
        shape = (reduction.shapes[0] or (None, None))[1:]
        if not facts.is_sum or _WIDER.get(reduction.dtypes[0]) != facts.dtypes[0]:
            return None
        sizes = tuple(size for size in shape if size)
        return cls(operation.combiner, sizes) if len(sizes) == len(shape) else None

    def update(self, state: Any, arrays: Sequence[Any]) -> Any:
        """Adds the rows of a batch."""
        (dtype,) = sum_facts(self.combiner).dtypes
        rows = np.asarray(arrays[0]).reshape(-1, *self.shape)
        return super().update(state, [rows.sum(axis=0, dtype=dtype)])
