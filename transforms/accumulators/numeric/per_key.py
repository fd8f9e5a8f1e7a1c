"""TFT's combiners by key: one state a key, grouped with array operations, keys spread over parts.

Keys are bytes. Inputs that TFT's graph has reduced come with each key once a batch; raw ones (quantiles) once a record, and
are grouped here by one sort.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.combiner import CombinerAccumulator
from transforms.accumulators.framing import decode_state, encode_state
from transforms.accumulators.numeric.quantiles import QuantilesAccumulator

__all__ = ["PerKeyAccumulator"]


class PerKeyAccumulator(Accumulator):
    """Does CacheableCombinePerKeyAccumulate for any combiner that has a global accumulator.

    Args:
        inner: the accumulator of one key's values.
        by_record: whether a key may come more than once a batch.
    """

    name = "per-key"
    holds_lock = True
    num_parts = 8

    def __init__(self, inner: Any, by_record: bool) -> None:
        self.inner: Any = inner
        self.by_record = by_record

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> PerKeyAccumulator | None:
        """Returns the accumulator, or None where the combiner has none."""
        if type(operation.combiner).__name__ == "QuantilesCombiner":
            return cls(QuantilesAccumulator.from_operation(operation, source, downstream), by_record=True)
        inner = CombinerAccumulator.from_operation(operation, source, downstream)
        return None if inner is None else cls(inner, by_record=True)

    def create(self) -> dict[bytes, Any]:
        """Returns no keys."""
        return {}

    def update(self, state: dict[bytes, Any], arrays: Sequence[Any]) -> dict[bytes, Any]:
        """Adds a batch: the first array holds keys, the others have one row a key.

        Raises:
            ValueError: when the arrays do not have one row a key.
        """
        keys, values = np.asarray(arrays[0]), [np.asarray(array) for array in arrays[1:]]
        _check(keys, values)
        if not len(keys):
            return state
        if isinstance(self.inner, QuantilesAccumulator):
            return self._update_groups(state, keys, values)
        combiner = self.inner.combiner
        for index, key in enumerate(keys.tolist()):
            found = state.get(key)
            found = combiner.create_accumulator() if found is None else found
            state[key] = combiner.add_input(found, [array[index] for array in values])
        return state

    def merge(self, states: Sequence[dict[bytes, Any]]) -> dict[bytes, Any]:
        """Merges each key's states in the given order."""
        gathered: dict[bytes, list[Any]] = {}
        for state in states:
            for key, value in state.items():
                gathered.setdefault(key, []).append(value)
        return {key: found[0] if len(found) == 1 else self.inner.merge(found) for key, found in gathered.items()}

    def encode(self, state: dict[bytes, Any]) -> list[Part]:
        """Returns the keys with their encoded states, by hash of the key."""
        groups: dict[int, list[bytes]] = {}
        for key in sorted(state):
            groups.setdefault(zlib.crc32(key) % self.num_parts, []).append(key)
        parts = []
        for number, keys in groups.items():
            arrays = {
                "keys": _objects(keys),
                "states": _objects([bytes(self.inner.encode(state[key])[0].blob) for key in keys]),
            }
            parts.append(Part(number, encode_state(self.name, self.version, arrays)))
        return parts

    def decode(self, part: Part) -> dict[bytes, Any]:
        """Returns the keys and states of a part."""
        arrays, _ = decode_state(self.name, self.version, part.blob)
        blobs = arrays["states"].tolist()
        return {key: self.inner.decode(Part(0, blob)) for key, blob in zip(arrays["keys"].tolist(), blobs)}

    def finish(self, states: Sequence[dict[bytes, Any]]) -> list[tuple[bytes, list[Any]]]:
        """Returns (key, outputs of the combiner) in ascending order of keys."""
        merged = self.merge(states)
        return [(key, self.inner.finish([merged[key]])) for key in sorted(merged)]

    def _update_groups(self, state: dict[bytes, Any], keys: np.ndarray, values: list[np.ndarray]) -> dict[bytes, Any]:
        unique: Any
        places: Any
        unique, places = np.unique(keys, return_inverse=True)
        order = np.argsort(places, kind="stable")
        bounds: Any = np.searchsorted(places[order], np.arange(len(unique) + 1))
        for index, key in enumerate(unique.tolist()):
            rows = order[bounds[index] : bounds[index + 1]]
            found = state.get(key)
            found = self.inner.create() if found is None else found
            state[key] = self.inner.update(found, [array[rows] for array in values])
        return state


def _objects(items: list[bytes]) -> np.ndarray:
    array: np.ndarray = np.empty(len(items), object)
    array[:] = items
    return array


def _check(keys: np.ndarray, values: list[np.ndarray]) -> None:
    if keys.ndim != 1:
        raise ValueError(f"keys for CombinePerKey should have rank 1, got shape {keys.shape}")
    for index, array in enumerate(values):
        if array.ndim < 1:
            raise ValueError(f"Argument {index} for CombinePerKey should have rank >=1, got shape {array.shape}")
        if array.shape[0] != keys.shape[0]:
            raise ValueError(
                f"Argument {index} had shape {array.shape} whose first dimension was not equal to the size of the keys vector "
                f"({keys.shape[0]})"
            )
