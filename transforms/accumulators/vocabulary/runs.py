"""Sorted runs of a vocabulary and their merge: most frequent first, of equals the larger token first.

That is TFT's order (it sorts (count, token) pairs in reverse). Runs may be memory-mapped: a merge reads them block by
block, so a vocabulary that does not fit into memory is still written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.accumulators.vocabulary.counts import wide

__all__ = ["Run", "concat_runs", "merged_blocks", "sort_order", "sort_run"]

BLOCK_TOKENS = 1 << 17


@dataclasses.dataclass(frozen=True)
class Run:
    """Tokens with the score that orders them.

    Attributes:
        tokens: large_binary array; integers as decimal text, as in the vocabulary's file.
        scores: int64 or float64 [tokens].
    """

    tokens: pa.Array
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def slice(self, start: int, stop: int) -> Run:
        """Returns entries start to stop without a copy."""
        return Run(self.tokens.slice(start, stop - start), self.scores[start:stop])

    def where(self, mask: np.ndarray) -> Run:
        """Returns the entries where the mask holds."""
        if mask.all():
            return self
        return Run(self.tokens.filter(pa.array(mask)), self.scores[mask])


def as_text(tokens: pa.Array) -> pa.Array:
    """Returns tokens as they are written to a file: integers as decimal text."""
    if pa.types.is_integer(tokens.type):
        return tokens.cast(pa.string()).cast(pa.large_binary())
    return wide(tokens)


def concat_runs(runs: Sequence[Run]) -> Run:
    """Returns the runs one after another."""
    runs = [run for run in runs if len(run)] or list(runs[:1])
    if not runs:
        return Run(pa.array([], pa.large_binary()), np.zeros(0, np.int64))
    if len(runs) == 1:
        return runs[0]
    return Run(pa.concat_arrays([run.tokens for run in runs]), np.concatenate([run.scores for run in runs]))


def sort_order(run: Run, top_k: int | None = None) -> np.ndarray:
    """Returns the indices of the entries in vocabulary order, of the first `top_k` where given."""
    chosen = None
    if top_k is not None and 0 < top_k < len(run):
        # Entries below the k-th score cannot be among the first k: only the rest is sorted.
        kth = np.partition(run.scores, len(run) - top_k)[len(run) - top_k]
        chosen = np.flatnonzero(run.scores >= kth)
        run = Run(run.tokens.take(pa.array(chosen)), run.scores[chosen])
    batch = pa.record_batch([pa.array(run.scores), run.tokens], names=["score", "token"])
    order = pc.sort_indices(batch, sort_keys=[("score", "descending"), ("token", "descending")]).to_numpy()
    order = order.astype(np.int64)[:top_k]
    entries: np.ndarray = order if chosen is None else chosen[order]
    return entries


def sort_run(run: Run, top_k: int | None = None) -> Run:
    """Returns the run in vocabulary order, its first `top_k` entries where given."""
    order = sort_order(run, top_k)
    return Run(run.tokens.take(pa.array(order)), run.scores[order])


def _not_after(run: Run, score: float, token: pa.Scalar) -> int:
    """Returns how many entries at the head of a sorted run come no later than the given entry."""
    before = int(np.searchsorted(-run.scores, -score, "left"))
    same = int(np.searchsorted(-run.scores, -score, "right"))
    if same == before:
        return before
    tied = pc.greater_equal(run.tokens.slice(before, same - before), token)
    return before + int(pc.sum(tied.cast(pa.int64())).as_py() or 0)


def merged_blocks(runs: Sequence[Run], block_tokens: int = BLOCK_TOKENS) -> Iterator[Run]:
    """Yields the sorted runs merged into one, in blocks.

    Args:
        runs: each in vocabulary order; no token is in two of them.
        block_tokens: tokens of each run that are in memory at a time.
    """
    runs = [run for run in runs if len(run)]
    if len(runs) == 1:
        for start in range(0, len(runs[0]), block_tokens):
            yield runs[0].slice(start, min(start + block_tokens, len(runs[0])))
        return
    if sum(len(run) for run in runs) <= 8 * block_tokens:
        if runs:
            yield sort_run(concat_runs(runs))
        return
    positions = [0] * len(runs)
    while True:
        heads = [run.slice(at, min(at + block_tokens, len(run))) for run, at in zip(runs, positions)]
        # Nothing that is not loaded yet comes before the earliest of the last loaded entries.
        bounds = [head for run, head, at in zip(runs, heads, positions) if at + len(head) < len(run)]
        if not bounds:
            rest = [head for head in heads if len(head)]
            if rest:
                yield sort_run(concat_runs(rest))
            return
        last = Run(
            pa.concat_arrays([h.tokens.slice(len(h) - 1, 1) for h in bounds]), np.array([h.scores[-1] for h in bounds])
        )
        first = sort_run(last, 1)
        ready = [_not_after(head, first.scores[0].item(), first.tokens[0]) if len(head) else 0 for head in heads]
        yield sort_run(concat_runs([head.slice(0, count) for head, count in zip(heads, ready)]))
        positions = [at + count for at, count in zip(positions, ready)]
