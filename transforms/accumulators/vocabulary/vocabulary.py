"""Frequencies of tokens, plain or weighted: the accumulator behind `tft.vocabulary` without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from transforms.accumulators.base import Accumulator, Part, SourceInfo
from transforms.accumulators.vocabulary.count_codec import decode_counts, encode_counts
from transforms.accumulators.vocabulary.counts import TokenCounts, as_tokens, drop_unwritable, sum_by_token
from transforms.accumulators.vocabulary.runs import Run, as_text, sort_order
from transforms.accumulators.vocabulary.state import CountingState, out_of_memory_blob
from transforms.accumulators.vocabulary.weights import normalized_limbs, split_weights, sum_of_limbs

__all__ = ["Vocabulary", "VocabularyAccumulator"]

_FREQUENCY, _WEIGHTED_FREQUENCY = 1, 2  # tensorflow_transform.analyzers._VocabOrderingType
NUM_PARTS = 16


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """All tokens that were counted, as runs in vocabulary order.

    Attributes:
        runs: sorted runs; no token is in two of them.
        num_tokens: distinct tokens before any threshold or top_k.
        frequencies: what thresholds on frequency look at where the scores are something else (mutual information),
            one array a run.
    """

    runs: tuple[Run, ...]
    num_tokens: int
    frequencies: tuple[np.ndarray, ...] | None = None


def prune_early(downstream: tuple[Any, ...]) -> tuple[float, int | None]:
    """Returns the (frequency threshold, top_k) that may be applied to each part already.

    That is so where one prune operation follows and adds no coverage arm, which looks at all tokens.
    """
    prunes = [operation for operation in downstream if type(operation).__name__ == "VocabularyPrune"]
    if len(prunes) != 1 or prunes[0].key_fn is not None:
        return 0, None
    return prunes[0].frequency_threshold or 0, prunes[0].top_k


class VocabularyAccumulator(Accumulator):
    """Counts tokens.

    Args:
        weighted: whether each token comes with a weight.
        drop_unwritable: whether empty tokens and those with a line break are left out, as TFT does for text files.
        frequency_threshold: drop tokens below it when all are counted (0: none).
        top_k: keep no more of each part when all are counted.
    """

    name = "vocabulary"
    wants_raw = True
    order_free = True  # integer counts, and integer limbs of weights
    num_parts = NUM_PARTS

    def __init__(
        self, *, weighted: bool, drop_unwritable: bool, frequency_threshold: float = 0, top_k: int | None = None
    ) -> None:
        self.weighted = weighted
        self.drop_unwritable = drop_unwritable
        self.frequency_threshold = frequency_threshold
        self.top_k = top_k

    @classmethod
    def from_operation(cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()) -> Accumulator | None:
        if operation.vocab_ordering_type not in (_FREQUENCY, _WEIGHTED_FREQUENCY):
            return None  # labels: vocabulary_mutual_information.py
        threshold, top_k = prune_early(downstream)
        weighted = operation.vocab_ordering_type == _WEIGHTED_FREQUENCY
        reduction = source.reduction
        result = cls(
            weighted=weighted,
            drop_unwritable=bool(reduction and reduction.arguments.get("filter_regex")),
            frequency_threshold=threshold,
            top_k=top_k,
        )
        result.wants_raw = reduction is not None and reduction.name == "reduce_batch_weighted_counts"
        return result

    def create(self) -> CountingState:
        return CountingState(self.num_parts)

    def update(self, state: CountingState, arrays: Sequence[Any]) -> CountingState:
        tokens = as_tokens(arrays[0])
        if self.weighted:
            weights = arrays[1]
            weights = weights if isinstance(weights, np.ndarray) else weights.to_numpy(zero_copy_only=False)
            counts = sum_by_token(tokens, split_weights(weights.reshape(-1)))
            state.add(drop_unwritable(counts) if self.drop_unwritable else counts)
        else:
            state.count(tokens, drop_unwritable if self.drop_unwritable else None)
        return state

    def nbytes(self, state: CountingState) -> int:
        """Returns the bytes that a state holds in memory."""
        return state.nbytes

    def merge(self, states: Sequence[CountingState]) -> CountingState:
        merged = CountingState(1, states[0].part)
        for state in states:
            counts = state.to_counts()
            if counts is not None:
                merged.add(counts)
        return merged

    def encode(self, state: CountingState | TokenCounts) -> list[Part]:
        if isinstance(state, TokenCounts):
            return [Part(state.part, out_of_memory_blob(encode_counts(state)))]
        return [Part(number, out_of_memory_blob(encode_counts(counts))) for number, counts in state.parts()]

    def decode(self, part: Part) -> CountingState | TokenCounts:
        counts = decode_counts(part.blob)
        if counts.ordered:
            return dataclasses.replace(counts, part=part.number)
        state = CountingState(1, part.number)
        state.add(counts)
        return state

    def seal(self, state: CountingState) -> TokenCounts:
        counts = state.to_counts()
        if counts is None:
            counts = TokenCounts(as_tokens(np.array([], object)), np.zeros((1, 0), np.int64))
        measures = normalized_limbs(counts.measures)
        scores = sum_of_limbs(measures)
        distinct = len(counts)
        keep = np.arange(distinct)
        if self.frequency_threshold > 0:
            keep = np.flatnonzero(scores >= self.frequency_threshold)
        run = Run(as_text(counts.tokens.take(keep)), scores[keep])
        # The order is that of the written text, so integers are sorted as text.
        order = sort_order(run, self.top_k)
        return TokenCounts(run.tokens.take(order), measures[:, keep[order]], distinct, True, state.part)

    def finish(self, states: Sequence[TokenCounts]) -> Any:
        sealed = [state if isinstance(state, TokenCounts) else self.seal(state) for state in states]
        runs = tuple(Run(state.tokens, sum_of_limbs(state.measures)) for state in sealed)
        return Vocabulary(runs, sum(state.distinct for state in sealed))
