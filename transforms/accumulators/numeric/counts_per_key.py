"""Integer sums by key: `tft.count_per_key`, and what histograms and tf-idf build on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.framing import decode_state, encode_state
from transforms.tft.combiner_facts import SumFacts, sum_facts

__all__ = ["CountsPerKeyAccumulator"]

_State = dict[bytes, int]


class CountsPerKeyAccumulator(Accumulator):
    """Does TFT's NumPyCombiner by key where it sums one int64 a key that the graph has counted."""

    name = "counts-per-key"
    holds_lock = True
    num_parts = 8

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> CountsPerKeyAccumulator | None:
        """Returns the accumulator for sums of scalar int64, else None."""
        if sum_facts(operation.combiner) != SumFacts(is_sum=True, dtypes=("int64",)):
            return None
        return (
            cls()
            if source.dtypes[1:] == ("int64",) and source.shapes[1] is not None and len(source.shapes[1]) == 1
            else None
        )

    def create(self) -> _State:
        """Returns no keys."""
        return {}

    def update(self, state: _State, arrays: Sequence[Any]) -> _State:
        """Adds the counts of a batch."""
        get = state.get
        for key, count in zip(arrays[0].tolist(), arrays[1].tolist()):
            state[key] = get(key, 0) + count
        return state

    def merge(self, states: Sequence[_State]) -> _State:
        """Returns the sums of the states."""
        merged = dict(states[0])
        for state in states[1:]:
            for key, count in state.items():
                merged[key] = merged.get(key, 0) + count
        return merged

    def encode(self, state: _State) -> list[Part]:
        """Returns the keys and counts, by hash of the key."""
        groups: dict[int, list[bytes]] = {}
        for key in sorted(state):
            groups.setdefault(zlib.crc32(key) % self.num_parts, []).append(key)
        parts = []
        for number, keys in groups.items():
            array: np.ndarray = np.empty(len(keys), object)
            array[:] = keys
            counts = np.array([state[key] for key in keys], np.int64)
            parts.append(Part(number, encode_state(self.name, self.version, {"keys": array, "counts": counts})))
        return parts

    def decode(self, part: Part) -> _State:
        """Returns the state of a part."""
        arrays, _ = decode_state(self.name, self.version, part.blob)
        return dict(zip(arrays["keys"].tolist(), arrays["counts"].tolist()))

    def finish(self, states: Sequence[_State]) -> list[tuple[bytes, list[Any]]]:
        """Returns (key, [count]) in ascending order of keys."""
        merged = self.merge(states) if states else {}
        return [(key, [np.int64(merged[key])]) for key in sorted(merged)]
