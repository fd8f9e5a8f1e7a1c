"""Which accumulator does which operation of TFT: a new one is a file and a line here."""

from __future__ import annotations

import importlib
from typing import Any

from transforms.accumulators.base import Accumulator, SourceInfo

__all__ = ["ACCUMULATORS", "accumulator_for"]

# Operation definition's class (and, for combines, its combiner's class) → accumulators that may do it, tried in order.
# Names instead of classes, so that only what a pipeline uses is imported.
ACCUMULATORS: dict[tuple[str, str | None], tuple[str, ...]] = {
    ("VocabularyAccumulate", None): (
        "transforms.accumulators.vocabulary.vocabulary:VocabularyAccumulator",
        "transforms.accumulators.vocabulary.mutual_information:MutualInformationAccumulator",
    ),
    ("CacheableCombineAccumulate", "WeightedMeanAndVarCombiner"): (
        "transforms.accumulators.numeric.moments:MomentsAccumulator",
    ),
    ("CacheableCombineAccumulate", "NumPyCombiner"): (
        "transforms.accumulators.numeric.sums:SumAccumulator",
        "transforms.accumulators.numeric.sums:ElementSumAccumulator",
    ),
    ("CacheableCombinePerKeyAccumulate", "NumPyCombiner"): (
        "transforms.accumulators.numeric.counts_per_key:CountsPerKeyAccumulator",
    ),
    ("CacheableCombinePerKeyAccumulate", "WeightedMeanAndVarCombiner"): (
        "transforms.accumulators.numeric.moments_per_key:MomentsPerKeyAccumulator",
    ),
    ("CacheableCombineAccumulate", "_LMomentsCombiner"): (
        "transforms.accumulators.numeric.l_moments:LMomentsAccumulator",
    ),
    ("CacheableCombineAccumulate", "QuantilesCombiner"): (
        "transforms.accumulators.numeric.quantiles:QuantilesAccumulator",
    ),
    ("CacheableCombineAccumulate", None): ("transforms.accumulators.combiner:CombinerAccumulator",),
    ("CacheableCombinePerKeyAccumulate", None): ("transforms.accumulators.numeric.per_key:PerKeyAccumulator",),
    ("CacheableCombineAccumulate", "_VocabularyCombiner"): (
        "transforms.accumulators.vocabulary.approximate:ApproximateVocabularyAccumulator",
    ),
}


def accumulator_for(operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()) -> Accumulator | None:
    """Returns the first registered accumulator that takes the operation, or None.

    Args:
        operation: an Accumulate operation definition of TFT.
        source: what its inputs are.
        downstream: operation definitions that use its output, nearest first.
    """
    kind = type(operation).__name__
    combiner = getattr(operation, "combiner", None)
    keys = [(kind, type(combiner).__name__)] if combiner is not None else []
    for key in [*keys, (kind, None)]:
        for place in ACCUMULATORS.get(key, ()):
            module, name = place.split(":")
            accumulator: type[Accumulator] = getattr(importlib.import_module(module), name)
            found = accumulator.from_operation(operation, source, downstream)
            if found is not None:
                return found
    return None
