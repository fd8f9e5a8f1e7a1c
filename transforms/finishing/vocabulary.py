"""What follows the counting of a vocabulary: thresholds, top_k, coverage, order, reserved tokens, the file."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import ConfigError
from transforms.accumulators.vocabulary.files import write_vocabulary
from transforms.accumulators.vocabulary.runs import Run, concat_runs, merged_blocks, sort_run
from transforms.accumulators.vocabulary.vocabulary import Vocabulary
from transforms.planning.finishers import EvaluationContext

__all__ = ["count", "flatten_lists", "merge", "order_and_write", "prune", "reserved_tokens"]

_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class PrunedVocabulary:
    """The entries that passed, as runs in vocabulary order.

    Attributes:
        runs: sorted runs; no token is in two of them.
        num_tokens: entries in all; of the merged runs the first so many.
    """

    runs: tuple[Run, ...]
    num_tokens: int

    def blocks(self) -> Iterator[Run]:
        """Yields the entries in vocabulary order, block by block."""
        left = self.num_tokens
        for block in merged_blocks(self.runs):
            if left <= 0:
                return
            yield block.slice(0, min(left, len(block)))
            left -= len(block)


def merge(operation: Any, inputs: Sequence[Any], context: EvaluationContext) -> tuple[Any, ...]:
    """Returns the vocabulary as it is: counts are sums already. Mutual information is made here."""
    (value,) = inputs
    if hasattr(value, "with_mutual_information"):
        value = value.with_mutual_information(operation.use_adjusted_mutual_info, operation.min_diff_from_avg)
    return (value,)


def count(operation: Any, inputs: Sequence[Any], context: EvaluationContext) -> tuple[Any, ...]:
    """Returns the number of tokens, at least 1: an empty vocabulary is written with a dummy entry."""
    return (np.int64(max(1, inputs[0].num_tokens)),)


def _passing(
    vocabulary: Vocabulary, frequency_threshold: float, informativeness_threshold: float
) -> tuple[tuple[Run, ...], int]:
    runs = []
    for number, run in enumerate(vocabulary.runs):
        if vocabulary.frequencies is None:
            mask = run.scores >= frequency_threshold if frequency_threshold > 0 else np.ones(len(run), bool)
        elif frequency_threshold > 0 or informativeness_threshold > float("-inf"):
            frequencies = vocabulary.frequencies[number]
            mask = (frequencies >= frequency_threshold) & (run.scores >= informativeness_threshold)
        else:
            mask = np.ones(len(run), bool)
        runs.append(run.where(mask))
    return tuple(runs), sum(map(len, runs))


def dummy_run(input_dtype: str) -> Run:
    """Returns the one entry of an empty vocabulary, TFT's."""
    from tensorflow_transform.analyzers import get_empy_vocabulary_dummy_value

    score, token = get_empy_vocabulary_dummy_value(input_dtype)
    return Run(pa.array([token], pa.large_binary()), np.array([score], np.int64))


def _standard_arm(operation: Any, vocabulary: Vocabulary) -> PrunedVocabulary:
    runs, passed = _passing(vocabulary, operation.frequency_threshold or 0, operation.informativeness_threshold)
    if operation.top_k is None:
        return PrunedVocabulary(runs, passed)
    kept = min(operation.top_k, passed)
    if not kept:
        return PrunedVocabulary((dummy_run(operation.input_dtype),), 1)
    return PrunedVocabulary(runs, kept)


def _coverage_arm(operation: Any, vocabulary: Vocabulary) -> Run:
    runs, _ = _passing(
        vocabulary, operation.coverage_frequency_threshold or 0, operation.coverage_informativeness_threshold
    )
    chosen: list[Run] = []
    seen: dict[Any, int] = {}
    for block in merged_blocks(runs):
        tokens = block.tokens.to_pylist()
        if operation.coverage_top_k is None:
            chosen.append(block)
            continue
        keep: Any = np.zeros(len(block), bool)
        for index, token in enumerate(tokens):  # in vocabulary order: the first of a key are its top
            key = operation.key_fn(token)
            seen[key] = seen.get(key, 0) + 1
            keep[index] = seen[key] <= operation.coverage_top_k
        chosen.append(block.where(keep))
    return concat_runs(chosen)


def prune(operation: Any, inputs: Sequence[Any], context: EvaluationContext) -> tuple[Any, ...]:
    """Returns the entries that pass the thresholds and top_k; with a key_fn also the best of each key.

    Raises:
        ValueError: a negative threshold or top_k, as in TFT.
    """
    for name in ("top_k", "frequency_threshold", "coverage_top_k", "coverage_frequency_threshold"):
        value = getattr(operation, name)
        if value is not None and value < 0:
            raise ValueError(f"{name} of a vocabulary should be >= 0 or None, got {value}")
    (vocabulary,) = inputs
    standard = _standard_arm(operation, vocabulary)
    if operation.key_fn is None:
        return (standard,)
    first = concat_runs(list(standard.blocks()))
    coverage = _coverage_arm(operation, vocabulary)
    have = set(first.tokens.to_pylist())
    new = coverage.where(np.array([token not in have for token in coverage.tokens.to_pylist()], bool))
    union = sort_run(concat_runs([first, new]))
    return (PrunedVocabulary((union,), len(union)),)


def reserved_tokens(operation: Any, inputs: Sequence[Any], context: EvaluationContext) -> tuple[Any, ...]:
    """Returns the reserved tokens (object array of bytes) that the preprocessing function gave."""
    from tensorflow_transform.tf_utils import fetch_vocabulary_reserved_tokens

    return (np.asarray(fetch_vocabulary_reserved_tokens(context.graph, operation.name), object).reshape(-1),)


def _by_fingerprint(blocks: Iterator[Run]) -> Run:
    run = concat_runs(list(blocks))
    digests = pa.array(
        [hashlib.sha1(token, usedforsecurity=False).digest() for token in run.tokens.to_pylist()], pa.large_binary()
    )
    order = pc.sort_indices(digests)
    return Run(run.tokens.take(order), run.scores[order.to_numpy()])


def _with_reserved(blocks: Iterator[Run], reserved: np.ndarray) -> Iterator[Run]:
    tokens = pa.array(list(reserved), pa.large_binary())
    yield Run(tokens, np.full(len(tokens), -1, np.int64))
    taken = set(reserved.tolist())
    for block in blocks:
        known = pc.is_in(block.tokens, value_set=tokens) if taken else None
        yield block if known is None else block.where(~known.to_numpy(zero_copy_only=False))


def _or_dummy(blocks: Iterator[Run], input_dtype: str) -> Iterator[Run]:
    empty = True
    for block in blocks:
        empty = empty and not len(block)
        yield block
    if empty:
        yield dummy_run(input_dtype)


def _pairs(pairs: Sequence[tuple[str, Any]]) -> Run:
    """Returns (text, key) pairs, as combines per key give them, as a run whose scores are texts.

    Raises:
        ConfigError: a key that TFT's lookup would not find.
    """
    import tensorflow as tf

    for text, key in pairs:
        # Several numbers are looked up, by the file's second column between blanks; a count is for whoever reads the file.
        if "," in text and any(each in tf.compat.as_bytes(key) for each in (b" ", b"\n", b"\r")):
            raise ConfigError(
                f"key {key!r} has a blank or a line break, with which it would not be found in the file of a key_vocabulary_filename: "
                "leave that argument out, or replace them, as by tf.strings.regex_replace(key, r'\\s', '_')"
            )
    keys = pa.array([key if isinstance(key, bytes) else str(key).encode() for _, key in pairs], pa.large_binary())
    return Run(keys, np.array([text for text, _ in pairs], object))


def order_and_write(operation: Any, inputs: Sequence[Any], context: EvaluationContext) -> tuple[Any, ...]:
    """Writes the vocabulary file and returns its path (numpy string scalar).

    Raises:
        ConfigError: another vocabulary of other tokens has the same file name: a graph holds one file of a name.
    """
    import tensorflow as tf

    blocks = inputs[0].blocks() if isinstance(inputs[0], PrunedVocabulary) else iter([_pairs(inputs[0])])
    if operation.fingerprint_shuffle:
        blocks = iter([_by_fingerprint(blocks)])
    if len(inputs) > 1:
        blocks = _with_reserved(blocks, inputs[1])
    path = os.path.join(context.assets_dir, operation.vocab_filename)
    if operation.file_format == "tfrecord_gzip":
        path += ".tfrecord.gz"
    # Under its name it is whole: a worker that died while writing must not look like another vocabulary to the next try.
    # Not begun with that name: to TensorFlow's file system in memory a path exists where another begins with it.
    directory, name = os.path.split(path)
    written = os.path.join(directory, f"{secrets.token_hex(4)}.{name}")
    write_vocabulary(
        _or_dummy(blocks, operation.input_dtype), written, operation.file_format, operation.store_frequency
    )
    if tf.io.gfile.exists(path) and not _same(written, path):
        tf.io.gfile.remove(written)
        raise ConfigError(
            f"two vocabularies of different tokens have the file name {operation.vocab_filename!r}: the later one would replace the "
            "other; give each its own vocab_filename (key_vocabulary_filename)"
        )
    tf.io.gfile.rename(written, path, overwrite=True)
    return (np.array(path),)


def _same(one: str, other: str) -> bool:
    """Returns whether two files, which may be remote, have the same bytes."""
    import tensorflow as tf

    if tf.io.gfile.stat(one).length != tf.io.gfile.stat(other).length:
        return False
    with tf.io.gfile.GFile(one, "rb") as first, tf.io.gfile.GFile(other, "rb") as second:
        while block := first.read(_BLOCK_BYTES):
            if block != second.read(_BLOCK_BYTES):
                return False
    return True


def flatten_lists(operation: Any, inputs: Sequence[Any], context: EvaluationContext) -> tuple[Any, ...]:
    """Returns the first top_k entries of an approximate vocabulary."""
    (value,) = inputs
    kept = min(value.top_k, sum(map(len, value.runs)))
    if not kept:
        return (PrunedVocabulary((dummy_run(value.input_dtype),), 1),)
    return (PrunedVocabulary(value.runs, kept),)
