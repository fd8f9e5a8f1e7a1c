"""TFT's per-batch reductions as they are traced here: lean where nothing of them is run, the same for any batches.

TFT filters each batch of tokens with a regular expression in TensorFlow: some fifteen operations a vocabulary, a third of what
tracing costs, though none of it is run, since the accumulators take the raw tokens. One operation stands in for them. So it is with the
means and variances of whole columns.

TensorFlow's maximum by segment forgets what precedes a NaN, and that of a sparse tensor ignores a NaN unless it is all of a batch: so
TFT's minima and maxima by key, and of sparse elements, depend on how the data is cut. Here a NaN is left out of both, as TFT leaves it
out of means.

The least integer has no negative one, by which TFT finds minima; there it is taken for the next, where it was lost.

Keys are looked up in the graph by a table of hashes (`tf.unique` of the known keys and those of the batch), where TFT compares each
record with each key: a matrix of [keys, records] for every one of its lookups.

All traces of a function must be made the same way: names of tensors and fingerprints are compared between them.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow_transform import analyzer_nodes, tf_utils

from transforms.tft.patches import own_object_trackers, replaced
from transforms.tft.waiting import of_waiting, on_waiting

__all__ = ["BATCH_REDUCTIONS", "lean_reductions"]

# Functions of `tf_utils` that reduce a batch before an analyzer.
BATCH_REDUCTIONS = (
    "reduce_batch_weighted_counts",
    "reduce_batch_count_mean_and_var",
    "reduce_batch_count_mean_and_var_per_key",
    "reduce_batch_minus_min_and_max",
    "reduce_batch_minus_min_and_max_per_key",
    "reduce_batch_count_per_key",
    "reduce_batch_count_l_moments",
)
_lock = threading.RLock()  # TensorFlow's stack of resource trackers is global: one trace of ours at a time


@contextlib.contextmanager
def lean_reductions(noting: contextlib.AbstractContextManager[None] | None = None) -> Iterator[None]:
    """Traces unweighted vocabularies without their reduction while in the context; other threads run TFT as it is.

    Args:
        noting: context that sees reductions with the tensors that they are called on; None for none.
    """
    with _lock, own_object_trackers(), replaced(tf_utils, _REDUCTIONS), noting or contextlib.nullcontext():
        with replaced(tf_utils, dict.fromkeys(BATCH_REDUCTIONS, on_waiting)):
            with replaced(analyzer_nodes, {"get_input_tensors_value_nodes": of_waiting}):
                yield


def _stand_in(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def reduce(x: Any, weights: Any = None, force: bool = False, filter_regex: str | None = None) -> Any:
        if weights is not None or force:
            return original(x, weights, force, filter_regex)
        return tf_utils.ReducedBatchWeightedCounts(tf.identity(tf_utils.get_values(x)), None, None, None)

    return reduce


def _moments_stand_in(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def reduce(x: Any, reduce_instance_dims: bool) -> Any:
        if not reduce_instance_dims or not x.dtype.is_floating:
            return original(x, reduce_instance_dims)
        values = tf.identity(tf_utils.get_values(x))
        return values, values, values

    return reduce


def _without_nan_by_key(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def reduce(x: Any, key: Any, reduce_instance_dims: bool = True) -> Any:
        if not x.dtype.is_floating:
            keys, minus_smallest, largest = original(x, key, reduce_instance_dims)
            lifted = _negatable(x)
            if lifted is not x:
                _, minus_smallest, _ = original(lifted, key, reduce_instance_dims)
            return keys, minus_smallest, largest
        infinity = float("inf")
        keys, _, largest = original(_with_nan_as(x, -infinity), key, reduce_instance_dims)
        _, minus_smallest, _ = original(_with_nan_as(x, infinity), key, reduce_instance_dims)
        return keys, minus_smallest, largest

    return reduce


def _with_nan_as(x: Any, value: float) -> Any:
    def fill(values: Any) -> Any:
        return tf.where(tf.math.is_nan(values), tf.constant(value, values.dtype), values)

    if isinstance(x, tf.SparseTensor):
        return tf.SparseTensor(x.indices, fill(x.values), x.dense_shape)
    return x.with_flat_values(fill(x.flat_values)) if isinstance(x, tf.RaggedTensor) else fill(x)


def _negatable(x: Any) -> Any:
    """Integers of which each has a negative one: TFT finds a minimum as that of -x, and -(-2**63) is -2**63 again."""
    if x.dtype not in (tf.int32, tf.int64):
        return x  # TFT widens the short ones
    least = tf.constant(-x.dtype.max, x.dtype)
    if isinstance(x, tf.SparseTensor):
        return tf.SparseTensor(x.indices, tf.maximum(x.values, least), x.dense_shape)
    return (
        x.with_flat_values(tf.maximum(x.flat_values, least)) if isinstance(x, tf.RaggedTensor) else tf.maximum(x, least)
    )


def _without_sparse_nan(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def reduce(x: Any, reduce_instance_dims: bool) -> Any:
        if isinstance(x, tf.SparseTensor) and x.dtype.is_floating and not reduce_instance_dims:
            x = tf.sparse.retain(x, ~tf.math.is_nan(x.values))
        minus_smallest, largest = original(x, reduce_instance_dims)
        lifted = _negatable(x)
        if lifted is not x:
            minus_smallest, _ = original(lifted, reduce_instance_dims)
        return minus_smallest, largest

    return reduce


def _hashed_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def lookup(query: Any, key_vocab: Any) -> Any:
        if key_vocab.dtype != tf.string:
            return original(query, key_vocab)  # bucket boundaries, which may repeat
        known = tf.size(key_vocab, tf.int64)
        # The keys are distinct and come first, so a key's number among the distinct values is its place.
        numbers = tf.unique(tf.concat([key_vocab, tf.reshape(query, [-1])], axis=0), tf.int64).idx[known:]
        found = tf.where(numbers < known, numbers, tf.constant(-1, tf.int64))
        result = tf.reshape(found, tf.shape(query))
        result.set_shape(query.shape)
        return result

    return lookup


_REDUCTIONS = {
    "lookup_key": _hashed_lookup,
    "reduce_batch_weighted_counts": _stand_in,
    "reduce_batch_count_mean_and_var": _moments_stand_in,
    "reduce_batch_minus_min_and_max": _without_sparse_nan,
    "reduce_batch_minus_min_and_max_per_key": _without_nan_by_key,
}
