"""Counting, merging and ordering of vocabularies against collections.Counter and Python's own sort."""

from __future__ import annotations

import collections
import fractions
import gc
import os
import random
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest

from engine import DataError
from engine.core.environment import VOCABULARY_MEMORY_BYTES
from transforms.accumulators.base import Part
from transforms.accumulators.vocabulary.count_codec import decode_counts, encode_counts
from transforms.accumulators.vocabulary.counts import as_tokens, count_tokens, merge_counts, partition_counts
from transforms.accumulators.vocabulary.runs import Run, merged_blocks, sort_run
from transforms.accumulators.vocabulary.vocabulary import Vocabulary, VocabularyAccumulator

SIZE = int(os.environ.get("FULLPASS_VOCABULARY_TEST_TOKENS", "60000"))


@pytest.fixture
def tight_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So little memory that states go to disk every few batches."""
    gc.collect()
    monkeypatch.setenv(VOCABULARY_MEMORY_BYTES.name, "200000")
    yield
    gc.collect()


def run_accumulator(accumulator: VocabularyAccumulator, splits: Sequence[Sequence[Sequence]]) -> Vocabulary:
    """Returns what an accumulator makes of splits of batches of arrays, every state encoded and decoded on its way."""
    parts: dict[int, list[Part]] = collections.defaultdict(list)
    for batches in splits:
        state = accumulator.create()
        for arrays in batches:
            state = accumulator.update(state, arrays)
        for part in accumulator.encode(state):
            parts[part.number].append(part)
    sealed = []
    for number in sorted(parts):
        merged = accumulator.merge([accumulator.decode(part) for part in parts[number]])
        (part,) = accumulator.encode(accumulator.seal(merged))
        assert part.number == number
        sealed.append(accumulator.decode(part))
    return accumulator.finish(sealed)


def entries(vocabulary: Vocabulary, block_tokens: int = 1 << 17) -> list[tuple[float, bytes]]:
    """Returns (score, token) in the order of the file."""
    blocks = merged_blocks(vocabulary.runs, block_tokens)
    return [pair for block in blocks for pair in zip(block.scores.tolist(), block.tokens.to_pylist())]


def random_tokens(rng: np.random.Generator, count: int, distinct: int) -> list[bytes]:
    odd = [b"", b"a\nb", b"\r", b"\xff\xfe", b" ", "grüße".encode(), b"x" * 300]
    return [b"token %d" % n for n in rng.integers(0, distinct, count)] + odd


def test_counts_equal_counter_after_spilling(tight_memory: None) -> None:
    rng = np.random.default_rng(5)
    batches = [[random_tokens(rng, SIZE // 10, SIZE) for _ in range(6)] for _ in range(3)]
    accumulator = VocabularyAccumulator(weighted=False, drop_unwritable=True)
    state = accumulator.create()
    for tokens in batches[0]:
        state = accumulator.update(state, [pa.array(tokens, pa.binary())])
    assert state.spilled_bytes > 0
    splits = [[[pa.array(tokens, pa.binary())] for tokens in split] for split in batches]
    found = run_accumulator(accumulator, splits)
    counter = collections.Counter(token for split in batches for tokens in split for token in tokens)
    for unwritable in (b"", b"a\nb", b"\r"):
        del counter[unwritable]
    expected = sorted(((count, token) for token, count in counter.items()), reverse=True)
    assert found.num_tokens == len(expected)
    for block_tokens in (97, 5000, 1 << 17):
        assert entries(found, block_tokens) == expected


@pytest.mark.parametrize("top_k", [None, 1, 17, 10**6])
@pytest.mark.parametrize("threshold", [0, 3])
def test_early_pruning_keeps_the_first(top_k: int | None, threshold: int) -> None:
    rng = np.random.default_rng(6)
    tokens = random_tokens(rng, 4000, 900)
    full = VocabularyAccumulator(weighted=False, drop_unwritable=False)
    pruned = VocabularyAccumulator(weighted=False, drop_unwritable=False, frequency_threshold=threshold, top_k=top_k)
    splits = [[[np.array(tokens[:2000], object)]], [[np.array(tokens[2000:], object)]]]
    expected = [(count, token) for count, token in entries(run_accumulator(full, splits)) if count >= threshold]
    found = run_accumulator(pruned, splits)
    assert entries(found)[:top_k] == expected[:top_k]
    assert found.num_tokens == len(set(tokens))


@pytest.mark.parametrize("kind", ["int64", "uint64", "int32"])
def test_integers_are_ordered_as_text(kind: str) -> None:
    values = np.array([9, 10, 100, 9, 10, 3, 2**31 - 1], kind)
    found = run_accumulator(VocabularyAccumulator(weighted=False, drop_unwritable=False), [[[values]]])
    counter = collections.Counter(str(value).encode() for value in values.tolist())
    assert entries(found) == sorted(((count, token) for token, count in counter.items()), reverse=True)


def test_dictionary_batches_count_like_plain_ones() -> None:
    values = [b"a", b"b", b"a", b"c", b"a"]
    plain = count_tokens(as_tokens(pa.array(values, pa.binary())))
    indices = pa.array([0, 1, 3, 2, 0], pa.int32())
    repeated = pa.DictionaryArray.from_arrays(indices, pa.array([b"a", b"b", b"c", b"a", b"unused"], pa.binary()))
    encoded = count_tokens(as_tokens(repeated))
    as_dict = lambda counts: dict(zip(counts.tokens.to_pylist(), counts.measures[0].tolist()))
    assert as_dict(encoded) == as_dict(plain) == {b"a": 3, b"b": 1, b"c": 1}


def test_weights_are_summed_exactly_in_any_order() -> None:
    rng = np.random.default_rng(7)
    weights = np.concatenate([rng.random(3000) * 1e-3, rng.random(3000) * 1e6, -rng.random(3000)]).astype(np.float32)
    tokens = np.array([b"t%d" % n for n in rng.integers(0, 20, len(weights))], object)
    exact: dict[bytes, fractions.Fraction] = collections.defaultdict(fractions.Fraction)
    for token, weight in zip(tokens, weights.tolist()):
        exact[token] += fractions.Fraction(weight)
    accumulator = VocabularyAccumulator(weighted=True, drop_unwritable=False)
    seen = set()
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(weights))
        pieces = np.array_split(order, seed + 1)
        splits = [[[tokens[i], weights[i]] for i in np.array_split(piece, 3)] for piece in pieces]
        found = {token: score for score, token in entries(run_accumulator(accumulator, splits))}
        seen.add(tuple(sorted(found.items())))
        for token, total in exact.items():
            assert abs(fractions.Fraction(found[token]) - total) <= abs(total) * fractions.Fraction(1, 2**52)
    assert len(seen) == 1, "the order of the data changed a sum"


def test_weights_that_are_no_number_are_refused() -> None:
    accumulator = VocabularyAccumulator(weighted=True, drop_unwritable=False)
    with pytest.raises(DataError, match="finite"):
        accumulator.update(accumulator.create(), [np.array([b"a"], object), np.array([np.nan])])


def test_merge_of_runs_is_the_sort_of_all() -> None:
    random.seed(8)
    pairs = sorted({(random.randint(1, 6), b"%d" % random.randint(0, 10**5)) for _ in range(6000)})
    unique = {token: count for count, token in pairs}
    items = list(unique.items())
    random.shuffle(items)
    runs = []
    for start in range(0, len(items), 1300):
        piece = items[start : start + 1300]
        tokens = pa.array([token for token, _ in piece], pa.large_binary())
        runs.append(sort_run(Run(tokens, np.array([count for _, count in piece]))))
    expected = sorted(((count, token) for token, count in items), reverse=True)
    for block_tokens in (13, 500, 10**6):
        found = [
            pair for b in merged_blocks(runs, block_tokens) for pair in zip(b.scores.tolist(), b.tokens.to_pylist())
        ]
        assert found == expected


def test_parts_are_even_and_the_same_in_each_process() -> None:
    counts = count_tokens(as_tokens(pa.array([b"user-%d" % n for n in range(20_000)], pa.binary())))
    sizes = [len(part) for part in partition_counts(counts, 16)]
    assert sum(sizes) == 20_000
    assert min(sizes) > 1000
    one = count_tokens(as_tokens(pa.array([b"user-77"], pa.binary())))
    (number,) = [at for at, part in enumerate(partition_counts(one, 16)) if len(part)]
    assert b"user-77" in partition_counts(counts, 16)[number].tokens.to_pylist()
    assert number == 2  # stored parts rely on it


def test_encoding_is_held() -> None:
    counts = merge_counts([count_tokens(as_tokens(pa.array([b"a", b"", b"ccc", b"a"], pa.binary())))])
    blob = encode_counts(counts.slice(1, 3))
    back = decode_counts(memoryview(blob))
    assert back.tokens.to_pylist() == [b"", b"ccc"]
    assert back.measures.tolist() == [[1, 1]]
    with pytest.raises(DataError, match="cut off"):
        decode_counts(blob[:-1])
    with pytest.raises(DataError, match="another version"):
        decode_counts(blob[:4] + b"\x63" + blob[5:])
    with pytest.raises(DataError, match="begins with b'XXXX'"):
        decode_counts(b"XXXX" + blob[4:])
