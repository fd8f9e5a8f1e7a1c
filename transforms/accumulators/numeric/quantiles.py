"""Quantiles: exact over up to a few million values, then TFT's own sketch.

TFT's sketch depends on the order of its input. Values are therefore gathered, sorted and given to the sketch in one
piece, as long as they are few enough, so that batches, splits and workers do not show in the result. Beyond
`EXACT_VALUES` values a state becomes a sketch, merged in the order of splits; the error bound is TFT's either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.framing import decode_state, encode_state
from transforms.accumulators.numeric.arrays import as_numpy
from transforms.tft.combiner_facts import has_weights, num_features
from transforms.tft.sketches import quantiles_sketch

__all__ = ["EXACT_VALUES", "QuantilesAccumulator", "QuantilesState"]

EXACT_VALUES = 1 << 22  # 16 MiB of float32 an analyzer


@dataclasses.dataclass(kw_only=True)
class QuantilesState:
    """Values that wait, and the sketch of those that were too many.

    Attributes:
        chunks: arrays of each batch, its values and, where the quantiles are weighted, their weights.
        size: values in the chunks.
        sketch: TFT's, or None as long as there was no need of one.
    """

    chunks: list[tuple[np.ndarray, ...]] = dataclasses.field(default_factory=list)
    size: int = 0
    sketch: Any = None


class QuantilesAccumulator(Accumulator):
    """Does TFT's QuantilesCombiner.

    Args:
        combiner: TFT's combiner.
        weighted: whether the second input holds weights.
    """

    name = "quantiles"

    def __init__(self, combiner: Any, weighted: bool) -> None:
        self.combiner = combiner
        self.weighted = weighted

    @classmethod
    def from_operation(cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()) -> Any:
        """Returns the accumulator."""
        return cls(operation.combiner, has_weights(operation.combiner))

    def create(self) -> QuantilesState:
        """Returns an empty state: pending chunks and no sketch."""
        return QuantilesState()

    def update(self, state: QuantilesState, arrays: Sequence[Any]) -> QuantilesState:
        """Adds a batch."""
        chunk = tuple(np.array(as_numpy(array)).reshape(-1) for array in arrays)
        state.chunks.append(chunk)
        state.size += chunk[0].size
        if state.size > EXACT_VALUES:
            self._to_sketch(state)
        return state

    def merge(self, states: Sequence[QuantilesState]) -> QuantilesState:
        """Joins values while they are few enough, else merges sketches in the given order."""
        total = sum(state.size for state in states)
        if total <= EXACT_VALUES and all(state.sketch is None for state in states):
            return QuantilesState(chunks=[chunk for state in states for chunk in state.chunks], size=total)
        merged = states[0]
        self._to_sketch(merged)
        for state in states[1:]:
            self._to_sketch(state)
            merged.sketch.Merge(state.sketch)
        return merged

    def encode(self, state: QuantilesState) -> list[Part]:
        """Returns the sorted values, or the sketch's own serialized form."""
        if state.sketch is not None:
            self._to_sketch(state)
            data = np.frombuffer(state.sketch.__getstate__(), np.uint8)
            return [Part(0, encode_state(self.name, self.version, {"sketch": data}))]
        columns = self._sorted(state)
        arrays = dict(zip(("values", "weights"), columns))
        return [Part(0, encode_state(self.name, self.version, arrays))]

    def decode(self, part: Part) -> QuantilesState:
        """Returns the state of a part."""
        arrays, _ = decode_state(self.name, self.version, part.blob)
        if "sketch" in arrays:
            return QuantilesState(sketch=quantiles_sketch(arrays["sketch"].tobytes()))
        if not arrays:
            return self.create()
        chunk = tuple(arrays[name] for name in ("values", "weights") if name in arrays)
        return QuantilesState(chunks=[chunk], size=chunk[0].size)

    def finish(self, states: Sequence[QuantilesState]) -> list[np.ndarray]:
        """Returns the boundaries as TFT gives them."""
        state = self.merge(states) if states else self.create()
        self._to_sketch(state)
        return list(self.combiner.extract_output(state.sketch))

    def _to_sketch(self, state: QuantilesState) -> None:
        if state.sketch is None:
            state.sketch = self.combiner.create_accumulator()
        if state.chunks:
            self.combiner.add_input(state.sketch, self._sorted(state))
        state.chunks, state.size = [], 0

    def _sorted(self, state: QuantilesState) -> list[np.ndarray]:
        """All pending values, each feature's in ascending order, in TFT's interleaved layout."""
        if not state.chunks:
            return []
        columns = [np.concatenate(each) for each in zip(*state.chunks)]
        features = num_features(self.combiner)
        values = columns[0].reshape(-1, features)
        if not self.weighted:
            return [np.sort(values, axis=0).reshape(-1)]
        per_feature = columns[1].size == columns[0].size
        weights = columns[1].reshape(-1, features) if per_feature else columns[1].reshape(-1, 1)
        weights = np.broadcast_to(weights, values.shape) if features == 1 or per_feature else weights
        if weights.shape != values.shape:  # one weight a row for several features: the rows must stay together
            return columns
        order = np.lexsort((weights[:, 0], values[:, 0])) if features == 1 else None
        if order is None:
            return columns
        return [values[order].reshape(-1), weights[order].reshape(-1)]
