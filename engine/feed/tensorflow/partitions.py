"""The partitions of a RaggedFeature, applied to the values of a batch of records. Imports TensorFlow.

tf.io.RaggedFeature documents what each kind means; here each is first brought to the lengths of its rows, record by record, so that
one check holds them all to the values they cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

__all__ = ["partitioned"]


def partitioned(description: Mapping[str, Any], values: tf.RaggedTensor, tensors: Mapping[str, Any]) -> tf.RaggedTensor:
    """Returns values [batch, (n)] cut by the feature's partitions, the outermost first: [batch, (rows), ..., (values)].

    Args:
        description: of the feature, as the schema keeps it.
        values: one list a record.
        tensors: RaggedTensor [batch, (m)] by the partitions' keys.

    Raises:
        tf.errors.InvalidArgumentError: a record whose partition does not fit its values, whatever `validate` was.
    """
    for partition in reversed(description["partitions"]):
        said = f"feature {description['name']!r}: partition {partition.get('key', partition['kind'])!r}"
        if partition["kind"] == "UniformRowLength":
            values = _uniform(values, partition["length"], said)
        else:
            part = tf.cast(tensors[partition["key"]].with_row_splits_dtype(tf.int64), tf.int64)
            values = _cut(values, *_LENGTHS[partition["kind"]](part, values.row_lengths(), said), said)
    return values


def _cut(rt: tf.RaggedTensor, lengths: tf.Tensor, counts: tf.Tensor, said: str) -> tf.RaggedTensor:
    """Cuts each record's values into `counts` rows of the next `lengths`."""
    rows = tf.RaggedTensor.from_row_lengths(lengths, counts, validate=False)
    fits = _check(
        tf.reduce_sum(rows, axis=1), rt.row_lengths(), f"{said} has another number of values than the feature"
    )
    with tf.control_dependencies([*fits, *_non_negative(lengths, said)]):
        inner = tf.RaggedTensor.from_row_lengths(rt.values, tf.identity(lengths), validate=False)
    return tf.RaggedTensor.from_row_lengths(inner, counts, validate=False)


def _uniform(rt: tf.RaggedTensor, length: int, said: str) -> tf.RaggedTensor:
    sizes = rt.row_lengths()
    with tf.control_dependencies(
        _check(sizes % length, tf.zeros_like(sizes), f"{said} of {length} leaves values over")
    ):
        counts = sizes // length
    if rt.ragged_rank > 1:
        inner = tf.RaggedTensor.from_uniform_row_length(rt.values, tf.constant(length, tf.int64), validate=False)
    else:  # a dense dimension, as tf.io.parse_example makes it
        inner = tf.reshape(rt.values, tf.concat([[-1, length], tf.shape(rt.values)[1:]], axis=0))
    return tf.RaggedTensor.from_row_lengths(inner, counts, validate=False)


def _row_lengths(part: tf.RaggedTensor, sizes: tf.Tensor, said: str) -> tuple[tf.Tensor, tf.Tensor]:
    return part.values, part.row_lengths()


def _row_limits(part: tf.RaggedTensor, sizes: tf.Tensor, said: str) -> tuple[tf.Tensor, tf.Tensor]:
    limits = part.values
    before = tf.where(_place(part) == 0, tf.zeros_like(limits), tf.roll(limits, 1, 0))
    return limits - before, part.row_lengths()


def _row_splits(part: tf.RaggedTensor, sizes: tf.Tensor, said: str) -> tuple[tf.Tensor, tf.Tensor]:
    with tf.control_dependencies(_begins_at_zero(part, said)):
        return _row_limits(part[:, 1:], sizes, said)


def _row_starts(part: tf.RaggedTensor, sizes: tf.Tensor, said: str) -> tuple[tf.Tensor, tf.Tensor]:
    starts, counts = part.values, part.row_lengths()
    with tf.control_dependencies(_begins_at_zero(part, said)):
        last = _place(part) == tf.repeat(counts, counts) - 1
    return tf.where(last, tf.repeat(sizes, counts), tf.roll(starts, -1, 0)) - starts, counts


def _value_rowids(part: tf.RaggedTensor, sizes: tf.Tensor, said: str) -> tuple[tf.Tensor, tf.Tensor]:
    ids = part.values
    before = tf.where(_place(part) == 0, tf.zeros_like(ids), tf.roll(ids, 1, 0))
    counts = tf.maximum(tf.reduce_max(part + 1, axis=1), 0)
    with tf.control_dependencies(_non_negative(ids - before, said)):
        rows = ids + tf.repeat(tf.cumsum(counts, exclusive=True), part.row_lengths())
    return tf.math.unsorted_segment_sum(tf.ones_like(ids), rows, tf.reduce_sum(counts)), counts


def _place(part: tf.RaggedTensor) -> tf.Tensor:
    """The place of each value in its record's list."""
    return tf.range(tf.size(part.values, tf.int64)) - tf.repeat(part.row_starts(), part.row_lengths())


def _begins_at_zero(part: tf.RaggedTensor, said: str) -> list[Any]:
    first = part[:, :1].values
    return _check(first, tf.zeros_like(first), f"{said} does not begin at 0")


def _non_negative(lengths: tf.Tensor, said: str) -> list[Any]:
    check = tf.debugging.assert_non_negative(lengths, f"{said} does not ascend, or has a length below 0")
    return [] if check is None else [check]


def _check(left: tf.Tensor, right: tf.Tensor, message: str) -> list[Any]:
    check = tf.debugging.assert_equal(left, right, message)
    return [] if check is None else [check]


_Lengths = Callable[[tf.RaggedTensor, tf.Tensor, str], tuple[tf.Tensor, tf.Tensor]]
_LENGTHS: dict[str, _Lengths] = {
    "RowLengths": _row_lengths,
    "RowLimits": _row_limits,
    "RowSplits": _row_splits,
    "RowStarts": _row_starts,
    "ValueRowIds": _value_rowids,
}
