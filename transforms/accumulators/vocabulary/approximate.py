"""`tft.experimental.approximate_vocabulary`: counted exactly here, which is within any bound of a sketch.

TFT keeps a Misra-Gries sketch of top_k entries, whose result depends on how the data came in batches once there are more
distinct tokens than that. Exact counts, partitioned by hash and bounded in memory, cost as little and depend on nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.accumulators.base import Accumulator, SourceInfo
from transforms.accumulators.vocabulary.counts import TokenCounts, as_tokens, drop_unwritable, sum_by_token
from transforms.accumulators.vocabulary.runs import Run
from transforms.accumulators.vocabulary.state import CountingState
from transforms.accumulators.vocabulary.vocabulary import Vocabulary, VocabularyAccumulator
from transforms.accumulators.vocabulary.weights import split_weights
from transforms.tft.combiner_facts import approximate_vocabulary_facts

__all__ = ["ApproximateVocabulary", "ApproximateVocabularyAccumulator"]


@dataclasses.dataclass(frozen=True)
class ApproximateVocabulary(Vocabulary):
    """A vocabulary of which the first `top_k` entries count.

    Attributes:
        top_k: number of entries.
        input_dtype: TensorFlow's name of the tokens' type.
    """

    top_k: int = 0
    input_dtype: str = "string"


class ApproximateVocabularyAccumulator(VocabularyAccumulator):
    """Counts tokens, or sums their weights; keeps top_k of each part at the end.

    Args:
        top_k: entries in all.
        input_dtype: TensorFlow's name of the tokens' type.
        weighted: whether raw input comes with weights.
        drop_unwritable: as in `VocabularyAccumulator`.
    """

    name = "approximate_vocabulary"

    def __init__(self, *, top_k: int, input_dtype: str, weighted: bool, drop_unwritable: bool) -> None:
        super().__init__(weighted=weighted, drop_unwritable=drop_unwritable, top_k=top_k)
        self.input_dtype = input_dtype

    @classmethod
    def from_operation(cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()) -> Accumulator | None:
        reduction = source.reduction
        facts = approximate_vocabulary_facts(operation.combiner)
        raw = reduction is not None and reduction.name == "reduce_batch_weighted_counts"
        result = cls(
            top_k=facts.top_k,
            input_dtype=facts.input_dtype,
            weighted=reduction is not None and raw and len(reduction.kinds) > 1,
            drop_unwritable=bool(reduction and raw and reduction.arguments.get("filter_regex")),
        )
        result.wants_raw = raw
        return result

    def update(self, state: CountingState, arrays: Sequence[Any]) -> CountingState:
        if self.wants_raw and not self.weighted:
            return super().update(state, arrays)
        weights = arrays[1]
        weights = weights if isinstance(weights, np.ndarray) else weights.to_numpy(zero_copy_only=False)
        # Sums in floating point, as the sketch has them, whatever the weights' type.
        counts = sum_by_token(as_tokens(arrays[0]), split_weights(weights.reshape(-1).astype(np.float64)))
        state.add(drop_unwritable(counts) if self.drop_unwritable else counts)
        return state

    def finish(self, states: Sequence[TokenCounts]) -> Any:
        vocabulary = super().finish(states)
        runs = tuple(Run(run.tokens, run.scores.astype(np.float64)) for run in vocabulary.runs)
        return (
            ApproximateVocabulary(runs, vocabulary.num_tokens, top_k=self.top_k or 0, input_dtype=self.input_dtype),
        )
