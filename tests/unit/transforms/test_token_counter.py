"""The native table of tokens against collections.Counter, and its partitions against the same hash in Python's integers."""

from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pytest

from transforms import _native
from transforms.accumulators.vocabulary.token_counter import TokenCounter, partition_numbers

MASK = (1 << 64) - 1


def random_tokens(rng: np.random.Generator, count: int, lengths: tuple[int, ...]) -> list[bytes]:
    """Returns tokens of few different bytes, zeros among them, so that many are equal but for their length."""
    return [bytes(rng.integers(0, 3, rng.choice(lengths)).tolist()) for _ in range(count)]


def as_counter(counter: TokenCounter) -> collections.Counter[bytes]:
    tokens, counts = counter.take()
    found = dict(zip(tokens.to_pylist(), counts.tolist()))
    assert len(found) == len(tokens), "a token stands twice in the table"
    return collections.Counter(found)


@pytest.mark.parametrize("lengths", [(0, 1, 2, 3), (7, 8, 9), (8,), (0, 5, 8, 16, 17, 40)])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_counts_are_those_of_counter(lengths: tuple[int, ...], kind: pa.DataType) -> None:
    rng = np.random.default_rng(1)
    counter, expected = TokenCounter(), collections.Counter()
    for size in (1, 31, 32, 33, 5000):
        tokens = random_tokens(rng, size + 5, lengths)
        counter.add(pa.array(tokens, kind).slice(3, size))
        expected.update(tokens[3 : 3 + size])
    assert len(counter) == len(expected)
    assert as_counter(counter) == expected
    assert len(counter) == 0
    assert as_counter(counter) == collections.Counter()


def test_counts_of_counted_tokens_are_sums() -> None:
    rng = np.random.default_rng(2)
    tokens = [b"%d" % value for value in rng.integers(0, 10**9, 100_000)]
    first, second = TokenCounter(), TokenCounter()
    first.add(pa.array(tokens, pa.binary()))
    counted, counts = first.take()
    for _ in range(3):
        second.add(counted, counts * 2**40)
    expected = collections.Counter(tokens)
    assert as_counter(second) == collections.Counter({token: 3 * 2**40 * count for token, count in expected.items()})


def test_partitions_are_what_stored_states_rely_on() -> None:
    def stir(value: int) -> int:
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        return value ^ (value >> 27)

    def number(token: bytes, parts: int) -> int:
        total = sum(stir((byte + (at + 1) * 0x9E3779B97F4A7C15) & MASK) for at, byte in enumerate(token)) & MASK
        return (stir(total) >> 40) % parts

    tokens = [*random_tokens(np.random.default_rng(3), 500, (0, 1, 7, 8, 30)), b"\xff" * 9]
    for kind in (pa.binary(), pa.large_binary()):
        found = partition_numbers(pa.array(tokens, kind).slice(2), 13)
        assert found.tolist() == [number(token, 13) for token in tokens[2:]]


def test_bad_buffers_are_refused() -> None:
    counter = _native.TokenCounter()
    offsets = np.array([0, 3, 2, 4], np.int32)
    with pytest.raises(ValueError, match="offsets of strings must rise"):
        counter.add_binary(offsets, b"abcd", 0, 3)
    with pytest.raises(ValueError, match="end within the text"):
        counter.add_binary(np.array([0, 9], np.int32), b"abcd", 0, 1)
    with pytest.raises(ValueError, match="tokens 2 to 4 of 3"):
        counter.add_binary(offsets, b"abcd", 2, 2)
    with pytest.raises(ValueError, match="one count a token"):
        counter.add_binary(np.array([0, 1], np.int32), b"a", 0, 1, np.array([1, 2]))
    with pytest.raises(ValueError, match="above 0"):
        counter.add_binary(np.array([0, 1], np.int32), b"a", 0, 1, np.array([0]))
    assert len(counter) == 0
