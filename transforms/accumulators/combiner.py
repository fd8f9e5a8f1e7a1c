"""TFT's own combiners as accumulators, where they are vectorised already: each batch is one call of numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.framing import decode_state, encode_state

__all__ = ["CombinerAccumulator"]

# Combiners whose accumulator is a flat sequence of arrays.
_KNOWN = ("NumPyCombiner", "WeightedMeanAndVarCombiner", "CovarianceCombiner", "PCACombiner", "_LMomentsCombiner")


class CombinerAccumulator(Accumulator):
    """Updates and merges with a combiner of TFT.

    Args:
        combiner: `tensorflow_transform.analyzer_nodes.Combiner`.
    """

    name = "combiner"

    def __init__(self, combiner: Any) -> None:
        self.combiner = combiner

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> CombinerAccumulator | None:
        """Returns the accumulator for TFT's numeric combiners, else None."""
        return cls(operation.combiner) if type(operation.combiner).__name__ in _KNOWN else None

    def create(self) -> Any:
        """Returns the combiner's empty accumulator."""
        return self.combiner.create_accumulator()

    def update(self, state: Any, arrays: Sequence[Any]) -> Any:
        """Adds a batch that TFT's graph has reduced."""
        return self.combiner.add_input(state, list(arrays))

    def merge(self, states: Sequence[Any]) -> Any:
        """Merges in the given order."""
        return self.combiner.merge_accumulators(list(states))

    def encode(self, state: Any) -> list[Part]:
        """Returns the arrays of the state as one part."""
        arrays = {str(index): np.asarray(value) for index, value in enumerate(state)}
        values = {"of": type(self.combiner).__name__}
        return [Part(0, encode_state(self.name, self.version, arrays, values))]

    def decode(self, part: Part) -> Any:
        """Returns the state of a part."""
        arrays, _ = decode_state(self.name, self.version, part.blob)
        values = [arrays[str(index)] for index in range(len(arrays))]
        empty = self.combiner.create_accumulator()
        return type(empty)(*values) if hasattr(empty, "_fields") else values

    def finish(self, states: Sequence[Any]) -> list[Any]:
        """Returns the combiner's outputs."""
        merged = self.merge(states) if states else self.create()
        return list(self.combiner.extract_output(merged))
