"""Distinct tokens with their counts: counted, merged, hash-partitioned, encoded, all in Arrow and numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.schema.kinds import is_text
from transforms.accumulators.vocabulary.token_counter import TokenCounter, is_countable, partition_numbers

__all__ = ["TokenCounts", "merge_counts", "partition_counts"]


@dataclasses.dataclass(frozen=True)
class TokenCounts:
    """Distinct tokens and what was counted of each.

    Attributes:
        tokens: array of large_binary, int64 or uint64, without nulls.
        measures: int64 of shape [measures, tokens]: one row of counts, or the limbs of exact weight sums.
        distinct: number of distinct tokens before any were dropped.
        ordered: whether the tokens are a sorted run (see `vocabulary_runs`).
        part: number of the hash partition that the tokens are of.
    """

    tokens: pa.Array
    measures: np.ndarray
    distinct: int = 0
    ordered: bool = False
    part: int = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held, or of the slice that is referred to."""
        return int(self.tokens.nbytes + self.measures.nbytes)

    def take(self, indices: Any) -> TokenCounts:
        """Returns the tokens at the indices (numpy integers or Arrow)."""
        indices = indices if isinstance(indices, np.ndarray) else np.asarray(indices)
        return dataclasses.replace(self, tokens=self.tokens.take(pa.array(indices)), measures=self.measures[:, indices])

    def slice(self, start: int, stop: int) -> TokenCounts:
        """Returns tokens start to stop without a copy."""
        tokens = self.tokens.slice(start, stop - start)
        return dataclasses.replace(self, tokens=tokens, measures=self.measures[:, start:stop])


def empty_counts(kind: Any, num_measures: int) -> TokenCounts:
    """Returns counts of nothing."""
    return TokenCounts(pa.array([], kind), np.zeros((num_measures, 0), np.int64))


def as_tokens(values: Any) -> pa.Array:
    """Returns a batch of values as an array of one of the token types, nulls dropped, or dictionary-encoded as it is."""
    if isinstance(values, np.ndarray):
        values = values.reshape(-1)
        values = pa.array(values, pa.large_binary()) if values.dtype == object else pa.array(values)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.DictionaryArray):
        return values
    if values.null_count:
        values = values.drop_null()
    if is_text(values.type):
        values = values.cast(pa.large_binary())
    elif pa.types.is_integer(values.type):
        kind = pa.uint64() if values.type == pa.uint64() else pa.int64()
        values = values if values.type == kind else values.cast(kind)
    return values


def wide(tokens: pa.Array) -> pa.Array:
    """Returns binary tokens with 64-bit offsets, so that no number of bytes overflows them."""
    return tokens.cast(pa.large_binary()) if tokens.type == pa.binary() else tokens


def count_tokens(tokens: pa.Array) -> TokenCounts:
    """Returns the distinct tokens of a batch with the number of times each occurs."""
    if isinstance(tokens, pa.DictionaryArray):
        return _count_dictionary(tokens)
    counted = pc.value_counts(tokens)
    counts = counted.field(1).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return TokenCounts(wide(counted.field(0)), counts.reshape(1, -1))


def _count_dictionary(tokens: pa.DictionaryArray) -> TokenCounts:
    indices = tokens.indices.drop_null().to_numpy(zero_copy_only=False)
    counts = np.bincount(indices, minlength=len(tokens.dictionary)).astype(np.int64)
    used = np.flatnonzero(counts)
    values = as_tokens(tokens.dictionary.take(pa.array(used)))
    # Dictionaries that readers make may hold a value twice; summing is cheap beside that.
    return sum_by_token(values, counts[used].reshape(1, -1))


def sum_by_token(tokens: pa.Array, measures: np.ndarray) -> TokenCounts:
    """Returns the distinct tokens with the sums of their measures.

    Args:
        tokens: tokens, repeated or not.
        measures: int64 [measures, tokens].
    """
    encoded = tokens if isinstance(tokens, pa.DictionaryArray) else tokens.dictionary_encode()
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    size = len(encoded.dictionary)
    sums: Any = np.zeros((len(measures), size), np.int64)
    for row, values in zip(sums, measures):
        if len(values) and int(values.max()) < 1 << 20 and int(values.min()) >= 0 and len(values) < 1 << 32:
            row[:] = np.bincount(indices, weights=values, minlength=size)  # exact: every partial sum is below 2 ** 53
        else:
            np.add.at(row, indices, values)
    return TokenCounts(wide(encoded.dictionary), sums)


def merge_counts(parts: Sequence[TokenCounts]) -> TokenCounts:
    """Returns the sum of several counts; where one has fewer measures than another, the missing ones are 0.

    Integer sums: the order of the parts changes nothing but the order of the tokens.
    """
    parts = [part for part in parts if len(part)] or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    if all(_is_plain(part) for part in parts):
        counter = TokenCounter()
        for part in parts:
            counter.add(part.tokens, part.measures[0])
        return taken(counter)
    tokens = pa.concat_arrays([wide(part.tokens) for part in parts])
    rows = max(len(part.measures) for part in parts)
    padded = [np.pad(part.measures, ((0, rows - len(part.measures)), (0, 0))) for part in parts]
    return sum_by_token(tokens, np.concatenate(padded, axis=1))


def _is_plain(counts: TokenCounts) -> bool:
    return len(counts.measures) == 1 and is_countable(counts.tokens) and int(counts.measures.min(initial=1)) > 0


def taken(counter: TokenCounter) -> TokenCounts:
    """Returns what a counter has counted, and leaves it empty."""
    tokens, counts = counter.take()
    return TokenCounts(tokens, counts.reshape(1, -1))


def drop_unwritable(counts: TokenCounts) -> TokenCounts:
    """Returns the counts without empty tokens and tokens with a line break, which a text file cannot hold."""
    if not pa.types.is_large_binary(counts.tokens.type) or not len(counts):
        return counts
    offsets, text = value_buffers(counts.tokens)
    if (np.diff(offsets) > 0).all() and not (text == 10).any() and not (text == 13).any():
        return counts
    bad = pc.equal(pc.binary_length(counts.tokens), 0)
    for line_break in (b"\n", b"\r"):
        bad = pc.or_(bad, pc.match_substring(counts.tokens, line_break))
    if not pc.any(bad).as_py():
        return counts
    return counts.take(np.flatnonzero(~bad.to_numpy(zero_copy_only=False)))


def _hash_integers(values: np.ndarray) -> np.ndarray:
    mixed: np.ndarray = values.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes: np.ndarray = mixed ^ (mixed >> np.uint64(27))
    return hashes


def value_buffers(tokens: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns (offsets from 0 [tokens + 1], bytes) of a large_binary array, without a copy of the bytes."""
    _, offset_buffer, data_buffer = tokens.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[tokens.offset : tokens.offset + len(tokens) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.zeros(0, np.uint8)
    return offsets - offsets[0], data[offsets[0] : offsets[-1]]


def partition_counts(counts: TokenCounts, num_parts: int) -> list[TokenCounts]:
    """Returns the counts split by a hash of the token that is the same in every process and run."""
    if not len(counts):
        return [counts] * num_parts
    binary = pa.types.is_large_binary(counts.tokens.type)
    if binary:
        numbers = partition_numbers(counts.tokens, num_parts)
    else:
        hashes = _hash_integers(counts.tokens.to_numpy(zero_copy_only=False))
        numbers = ((hashes >> np.uint64(40)) % np.uint64(num_parts)).astype(np.uint16)
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=num_parts))
    shuffled = counts.take(order)
    return [shuffled.slice(start, stop) for start, stop in zip([0, *ends[:-1].tolist()], ends.tolist())]
