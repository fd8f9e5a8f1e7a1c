"""Vocabularies ordered by how much a token tells about the label: (adjusted) mutual information.

The sums that it takes (per token: occurrences, weight, weight of each label) are kept as exact integers, like all counts
here. What comes after is TFT's arithmetic, float32 means included, over arrays of tokens; its expectation under chance is
TFT's own function, called once for each distinct frequency.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.accumulators.base import SourceInfo
from transforms.accumulators.vocabulary.counts import TokenCounts, as_tokens, merge_counts, sum_by_token
from transforms.accumulators.vocabulary.runs import Run, as_text, sort_order
from transforms.accumulators.vocabulary.state import CountingState
from transforms.accumulators.vocabulary.vocabulary import Vocabulary, VocabularyAccumulator
from transforms.accumulators.vocabulary.weights import normalized_limbs, split_weights, sum_of_limbs

__all__ = ["LabelCounts", "MutualInformationAccumulator"]

_WEIGHTED_MUTUAL_INFORMATION, _MUTUAL_INFORMATION = 3, 5  # tensorflow_transform.analyzers._VocabOrderingType
_LIMBS = 3
_log2 = np.frompyfunc(math.log2, 1, 1)  # the same bits as TFT's scalar code


class MutualInformationAccumulator(VocabularyAccumulator):
    """Counts tokens by label.

    Measures of a token: its count, the limbs of its weight (weighted only), then the limbs of each label's weight.

    Args:
        weighted: whether examples have weights.
    """

    name = "vocabulary_mutual_information"
    wants_raw = False
    num_parts = 8

    def __init__(self, *, weighted: bool) -> None:
        super().__init__(weighted=weighted, drop_unwritable=False)

    @classmethod
    def from_operation(
        cls, operation: Any, source: SourceInfo, downstream: tuple[Any, ...] = ()
    ) -> MutualInformationAccumulator | None:
        if operation.vocab_ordering_type not in (_WEIGHTED_MUTUAL_INFORMATION, _MUTUAL_INFORMATION):
            return None
        return cls(weighted=operation.vocab_ordering_type == _WEIGHTED_MUTUAL_INFORMATION)

    def update(self, state: CountingState, arrays: Sequence[Any]) -> CountingState:
        if self.weighted:
            tokens, weights, by_label, counts = arrays
        else:
            tokens, by_label, counts = arrays
            weights = None
        rows = [counts.astype(np.int64).reshape(1, -1)]
        if weights is not None:
            rows.append(split_weights(np.asarray(weights, np.float64)))
        rows += [split_weights(column) for column in np.asarray(by_label, np.float64).T]
        state.add(sum_by_token(as_tokens(tokens), np.concatenate(rows)))
        return state

    def seal(self, state: CountingState) -> TokenCounts:
        counts = state.to_counts()
        if counts is None:
            return TokenCounts(pa.array([], pa.large_binary()), np.zeros((1, 0), np.int64), 0, True, state.part)
        return dataclasses.replace(counts, distinct=len(counts), ordered=True, part=state.part)

    def finish(self, states: Sequence[TokenCounts]) -> Any:
        sealed = [state if isinstance(state, TokenCounts) else self.seal(state) for state in states]
        return LabelCounts(merge_counts(sealed) if sealed else None, self.weighted)


@dataclasses.dataclass(frozen=True)
class LabelCounts:
    """Counts of all tokens by label, the sentinel that stands for all examples among them.

    Attributes:
        counts: measures as in `MutualInformationAccumulator`, or None where there was no data.
        weighted: whether examples had weights.
    """

    counts: TokenCounts | None
    weighted: bool

    @property
    def num_tokens(self) -> int:
        """Number of distinct tokens without the sentinel."""
        return 0 if self.counts is None else max(0, len(self.counts) - 1)

    def with_mutual_information(self, adjusted: bool, min_diff_from_avg: int | None) -> Vocabulary:
        """Returns the vocabulary scored by (adjusted) mutual information.

        Args:
            adjusted: whether to take off what chance alone gives.
            min_diff_from_avg: a label counts only where the observed and the average co-occurrence differ by as much;
                None takes TFT's recommendation for the number of examples.
        """
        if self.counts is None:
            return Vocabulary((), 0, frequencies=())
        count, mean, weight = self._means(self.counts.measures)
        is_sentinel = _is_sentinel(self.counts.tokens)
        (sentinel,) = np.flatnonzero(is_sentinel)
        scores, frequencies = _mutual_information(
            _Means(count, mean, weight), int(sentinel), self.counts.tokens, adjusted, min_diff_from_avg
        )
        keep = np.flatnonzero(~is_sentinel)
        run = Run(as_text(self.counts.tokens.take(pa.array(keep))), scores[keep])
        order = sort_order(run)
        sorted_run = Run(run.tokens.take(pa.array(order)), run.scores[order])
        return Vocabulary((sorted_run,), len(keep), frequencies=(frequencies[keep][order],))

    def _means(self, measures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = measures[0]
        at = 1
        weight_sum: Any = count.astype(np.float64)
        if self.weighted:
            weight_sum = sum_of_limbs(normalized_limbs(measures[at : at + _LIMBS]))
            at += _LIMBS
        labels = [sum_of_limbs(measures[row : row + _LIMBS]) for row in range(at, len(measures), _LIMBS)]
        by_label = np.stack(labels, axis=1) if labels else np.zeros((len(count), 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.nan_to_num(by_label / weight_sum[:, None]).astype(np.float32)
            weight = np.nan_to_num(weight_sum / count).astype(np.float32)
        return count, mean, weight


@dataclasses.dataclass(frozen=True)
class _Means:
    count: np.ndarray  # int64 [tokens]
    mean: np.ndarray  # float32 [tokens, labels]
    weight: np.ndarray  # float32 [tokens]


def _is_sentinel(tokens: pa.Array) -> np.ndarray:
    from tensorflow_transform.tf_utils import GLOBAL_Y_COUNT_SENTINEL_INT, GLOBAL_Y_COUNT_SENTINEL_STRING

    wanted = GLOBAL_Y_COUNT_SENTINEL_INT if pa.types.is_integer(tokens.type) else GLOBAL_Y_COUNT_SENTINEL_STRING
    same: np.ndarray = pc.equal(tokens, pa.scalar(wanted, tokens.type)).to_numpy(zero_copy_only=False)
    return same


def _mutual_information(
    means: _Means, sentinel: int, tokens: pa.Array, adjusted: bool, min_diff_from_avg: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (scores, frequencies), float64 [tokens].

    A score of -0.0 says that no label counted; TFT has the integer 0 there and writes it as such.
    """
    from tensorflow_transform.analyzers import calculate_recommended_min_diff_from_avg
    from tensorflow_transform.info_theory import calculate_partial_expected_mutual_information

    total = means.count[sentinel] * means.weight[sentinel]
    label_counts = means.mean[sentinel] * means.weight[sentinel] * means.count[sentinel]
    frequency = means.count * means.weight  # int64 * float32: float64
    if total == 0:
        return np.full(len(tokens), np.nan), np.zeros(len(tokens))
    if min_diff_from_avg is None:
        min_diff_from_avg = calculate_recommended_min_diff_from_avg(total)
    rounded = np.round(frequency)
    excess = np.flatnonzero(rounded > np.round(total))
    if len(excess):
        raise ValueError(
            f"token {tokens[int(excess[0])].as_py()!r} of a vocabulary with labels occurs {frequency[excess[0]]:g} times in "
            f"{total:g} examples: a token may occur only once in an example; remove repetitions within an example"
        )
    informative = rounded != np.round(total)
    score = np.zeros(len(tokens))
    counted: Any = np.zeros(len(tokens), bool)
    expected = np.zeros(len(tokens))
    log_total, log_frequency = math.log2(total), _safe_log2(frequency)
    for label, label_count in enumerate(label_counts):
        if label_count == 0:
            continue
        together = np.clip(means.mean[:, label], 1e-6, 1 - 1e-6) * means.weight * means.count
        average_gap = (frequency * label_count / total) - together
        used = informative & ~(np.abs(average_gap) < min_diff_from_avg)
        counted |= used
        nonzero = used & (together != 0) & (frequency != 0)
        logs = (_safe_log2(together) + log_total) - (log_frequency + math.log2(label_count))
        score[nonzero] += (together * logs)[nonzero]
        if adjusted:
            distinct, inverse = np.unique(frequency[used], return_inverse=True)
            chance = [calculate_partial_expected_mutual_information(total, x, label_count) for x in distinct]
            expected[used] += np.array(chance, np.float64)[inverse]
    score = np.where(counted, score - expected if adjusted else score, -0.0)
    return score, frequency


def _safe_log2(values: np.ndarray) -> np.ndarray:
    return np.asarray(_log2(np.where(values > 0, values, 1.0).astype(np.float64)), np.float64)
