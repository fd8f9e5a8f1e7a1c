"""How the numbers of a feature are distributed, exact until there are too many distinct values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.sketches import QuantilesSketch

from transforms.profiling.distinct import DistinctCounts, from_arrays, merged
from transforms.tft.sketches import quantiles_sketch

__all__ = ["RANK_ERROR", "Distribution"]

RANK_ERROR = 0.01  # what the sketch promises: a share of all values
_SKETCHED = 1 << 36  # values that the error holds for: the sketch wants to know how many come before the first does


class Distribution:
    """How numbers are distributed: all distinct values with their counts, then a sketch of quantiles.

    Args:
        limit: most distinct values that are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.exact: DistinctCounts | None = None
        self.sketches: list[Any] = []  # of counts, and of weights where there are any
        self._pending: list[DistinctCounts] = []
        self._waiting = 0

    def add(self, counts: DistinctCounts) -> None:
        """Adds distinct values."""
        if not len(counts):
            return
        if self.sketches:
            self._sketch(counts)
            return
        self._pending.append(counts)
        self._waiting += len(counts)
        if self._waiting > max(self.limit, 1 << 15):
            self.settle()

    def settle(self) -> None:
        """Takes in what waits."""
        waiting = [*([self.exact] if self.exact is not None else []), *self._pending]
        self._pending, self._waiting = [], 0
        if not waiting:
            return
        self.exact = merged(waiting)
        if len(self.exact) > self.limit:
            self._sketch(self.exact)
            self.exact = None

    def merge(self, other: Distribution) -> None:
        """Adds another state."""
        self.settle()
        other.settle()
        if other.sketches and not self.sketches:
            held, self.exact = self.exact, None
            self.sketches = other.sketches
            if held is not None:
                self._sketch(held)
        elif other.sketches:
            for mine, theirs in zip(self.sketches, other.sketches, strict=True):
                mine.Merge(theirs)
        elif other.exact is not None:
            self.add(other.exact)

    def _sketch(self, counts: DistinctCounts) -> None:
        measures = [counts.counts.astype(np.float64), *([counts.weights] if counts.weights is not None else [])]
        if not self.sketches:
            self.sketches = [QuantilesSketch(RANK_ERROR, _SKETCHED, 1) for _ in measures]
        order = pc.sort_indices(counts.values)
        values = counts.values.take(order).cast(pa.float64(), safe=False)
        for sketch, measure in zip(self.sketches, measures, strict=True):
            sketch.AddValues(values, pa.array(measure).take(order))

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Returns the state as numpy arrays."""
        self.settle()
        found = self.exact.arrays(f"{prefix}exact/") if self.exact is not None else {}
        for index, sketch in enumerate(self.sketches):
            sketch.Compact()
            found[f"{prefix}sketch{index}"] = np.frombuffer(sketch.__getstate__(), np.uint8)
        return found

    @staticmethod
    def of_arrays(arrays: dict[str, np.ndarray], prefix: str, limit: int) -> Distribution:
        """Returns the state that gave the arrays."""
        state = Distribution(limit)
        if f"{prefix}exact/counts" in arrays:
            state.exact = from_arrays(arrays, f"{prefix}exact/", 0, False)
        for index in range(2):
            if f"{prefix}sketch{index}" in arrays:
                state.sketches.append(quantiles_sketch(arrays[f"{prefix}sketch{index}"].tobytes()))
        return state
