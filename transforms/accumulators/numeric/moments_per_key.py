"""Mean and variance by key, exact until the last rounding, like `moments`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.framing import decode_state, encode_state
from transforms.accumulators.numeric.exact import exact_sums_by_group
from transforms.accumulators.numeric.moments import as_dtype, mean_and_variance
from transforms.tft.combiner_facts import moment_facts

__all__ = ["MomentsPerKeyAccumulator"]

# Of each key: number of finite values, their sum, the sum of their squares.
_State = dict[bytes, tuple[int, ...]]


class MomentsPerKeyAccumulator(Accumulator):
    """Does TFT's mean and variance by key of a dense scalar float32 or float16 feature.

    Args:
        dtype: numpy dtype name of the outputs.
    """

    name = "moments-per-key"
    holds_lock = True
    wants_raw = True

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> MomentsPerKeyAccumulator | None:
        """Returns the accumulator, or None for anything but dense scalars with dense keys."""
        reduction = source.reduction
        if reduction is None or reduction.name != "reduce_batch_count_mean_and_var_per_key":
            return None
        scalar = all(shape is not None and len(shape) == 1 for shape in reduction.shapes)
        if reduction.kinds != ("dense", "dense") or not scalar or reduction.dtypes[0] not in ("float32", "float16"):
            return None
        facts = moment_facts(operation.combiner)
        return cls(facts.dtype) if facts.plain_variance else None

    def create(self) -> _State:
        """Returns no keys."""
        return {}

    def update(self, state: _State, arrays: Sequence[Any]) -> _State:
        """Adds a batch of values and keys."""
        values = arrays[0].to_numpy(zero_copy_only=False) if isinstance(arrays[0], pa.Array) else arrays[0]
        keys = arrays[1] if isinstance(arrays[1], pa.Array) else pa.array(arrays[1], pa.binary())
        encoded = keys if pa.types.is_dictionary(keys.type) else keys.dictionary_encode()
        values = values.astype(np.float32, copy=False)
        groups, names = encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()
        present = np.bincount(groups, minlength=len(names)) > 0
        finite = np.isfinite(values)
        if not finite.all():
            values, groups = values[finite], groups[finite]
        counts = np.bincount(groups, minlength=len(names)).tolist()
        sums, squares = exact_sums_by_group(values, groups, len(names))
        for index in np.flatnonzero(present).tolist():
            name = names[index].encode() if isinstance(names[index], str) else names[index]
            found = state.get(name, (0, 0, 0))
            state[name] = (found[0] + counts[index], found[1] + sums[index], found[2] + squares[index])
        return state

    def merge(self, states: Sequence[_State]) -> _State:
        """Returns the sums of the states."""
        merged: _State = {}
        for state in states:
            for key, value in state.items():
                merged[key] = tuple(a + b for a, b in zip(merged[key], value)) if key in merged else value
        return merged

    def encode(self, state: _State) -> list[Part]:
        """Returns the state as one part."""
        keys: np.ndarray = np.empty(len(state), object)
        keys[:] = list(state)
        values = {"moments": [[hex(value) for value in each] for each in state.values()]}
        return [Part(0, encode_state(self.name, self.version, {"keys": keys}, values))]

    def decode(self, part: Part) -> _State:
        """Returns the state of a part."""
        arrays, values = decode_state(self.name, self.version, part.blob)
        return {
            key: tuple(int(value, 16) for value in each)
            for key, each in zip(arrays["keys"].tolist(), values["moments"])
        }

    def finish(self, states: Sequence[_State]) -> list[tuple[bytes, list[np.ndarray]]]:
        """Returns (key, [mean, variance]) in ascending order of keys."""
        merged = self.merge(states)
        keys = sorted(merged)
        found = np.array([mean_and_variance(*merged[key]) for key in keys], np.float64).reshape(-1, 2)
        mean, variance = as_dtype(found[:, 0], found[:, 1], self.dtype)
        return [(key, [mean[index], variance[index]]) for index, key in enumerate(keys)]
