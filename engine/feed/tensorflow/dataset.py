"""The feed as a tf.data.Dataset, and packed batches as tensors by feature name. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from engine._native import ByteRows
from engine.core.errors import ConfigError
from engine.feed.columns import BYTES, FLOAT32, INT64, ONE_BUFFER, RESERVED, Layout
from engine.feed.pack import values_rows
from engine.feed.tensorflow.faults import noting
from engine.feed.tensorflow.one_buffer import parted, takes_one_buffer, without_views
from engine.feed.tensorflow.strings import parse_strings, string_protos
from engine.plan import Remainder

if TYPE_CHECKING:
    from engine.feed.feed import Feed
    from engine.feed.mixture import MixedFeed

__all__ = ["make_dataset", "settle", "unpack"]

_DTYPES = {FLOAT32: tf.float32, INT64: tf.int64, BYTES: tf.string}
_ELEMENT_BYTES = 16 << 20
_RECORDS_AN_ELEMENT = 8192  # handing an element over costs about 0.3 ms whatever its size: small batches go together


def make_dataset(
    feed: Feed | MixedFeed, num_replicas: int, in_one_buffer: Callable[..., Iterator[dict[str, Any]]] | None = None
) -> tf.data.Dataset:
    """Returns the dataset of `Feed.dataset`.

    Args:
        feed: whose batches.
        num_replicas: of this host.
        in_one_buffer: the feed's `made_ahead` of batches in one buffer, where they are wanted so.

    Raises:
        ConfigError: the host's batch is not divisible by the number of replicas, or the batch is partial.
    """
    size = feed.host_batch_size
    partial = feed.config.remainder is Remainder.PARTIAL
    if num_replicas < 1 or size % num_replicas or (partial and num_replicas > 1):
        raise ConfigError(
            f"num_replicas is {num_replicas}: give a divisor of the host's batch of {size} records"
            + (", and with several replicas Remainder.PAD instead of PARTIAL" if partial else "")
        )
    share = size // num_replicas
    rows = None if partial else share
    spec = _signature(feed, rows)
    left = feed.batches_left()
    most = min(_RECORDS_AN_ELEMENT, int(_ELEMENT_BYTES / (feed.record_bytes or 1)))
    group = max(1, most // size)
    if feed.layout.ragged:
        dataset = tf.data.Dataset.from_generator(noting(lambda: _parts(feed, share)), output_signature=spec)
    elif in_one_buffer and group * num_replicas == 1 and takes_one_buffer(feed.layout, feed.config):
        spec = {ONE_BUFFER: tf.TensorSpec([size * feed.layout.row_bytes], tf.uint8), **without_views(spec)}
        dataset = tf.data.Dataset.from_generator(noting(lambda: in_one_buffer(without_views)), output_signature=spec)
    elif partial or group * num_replicas == 1:
        dataset = tf.data.Dataset.from_generator(noting(lambda: feed.made_ahead(_whole)), output_signature=spec)
    else:
        several = tf.nest.map_structure(
            lambda s: tf.TensorSpec(tf.TensorShape([None]).concatenate(s.shape), s.dtype), spec
        )
        dataset = tf.data.Dataset.from_generator(
            noting(lambda: _grouped(feed.made_ahead(lambda batch: batch), group, share)), output_signature=several
        ).unbatch()
    # Known to be endless, tf.distribute need not ask all workers at each step whether they have data left.
    cardinality = tf.data.INFINITE_CARDINALITY if left is None else left * num_replicas
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    options = tf.data.Options()
    # Every host has its own slice already; tf.distribute must neither shard nor reorder it.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.deterministic = True
    settle(options)
    if feed.layout.ragged or feed.layout.width(BYTES):
        dataset = dataset.map(lambda packed: _finished(feed.layout, packed, rows))
    # What a step waits for otherwise: the copy out of Python, and the taking apart of strings.
    return dataset.prefetch(2 * group * num_replicas).with_options(options)


def settle(options: tf.data.Options) -> None:
    """Turns off tf.data autotuning: our pipeline has no tunable stages.

    Its thread sleeps for 10 ms, then for twice as long each time, up to a minute, and an iterator that ends can wait for it
    to wake up: as long again as the epoch took, or a minute (seen with TensorFlow 2.21).
    """
    options.autotune.enabled = False


def _signature(feed: Feed | MixedFeed, size: int | None) -> dict[str, Any]:
    """What the generator yields: strings as `string_protos` has them."""
    layout = feed.layout
    spec: dict[str, Any] = {
        kind: tf.TensorSpec(None if kind == BYTES else [size, layout.width(kind)], dtype)
        for kind, dtype in _DTYPES.items()
        if layout.width(kind)
    }
    for column in layout.ragged:
        splits = tf.TensorSpec([None if size is None else size + 1], tf.int64)
        spec[column.name] = (tf.TensorSpec(None if column.kind == BYTES else [None], _DTYPES[column.kind]), splits)
    if feed.config.with_record_ids:
        spec["record_ids"] = tf.TensorSpec([size], tf.int64)
    if feed.config.masked:
        spec["mask"] = tf.TensorSpec([size], tf.bool)
    return spec


def _whole(batch: dict[str, Any]) -> dict[str, Any]:
    return {key: string_protos([(v, 0, len(v))])[0] if isinstance(v, ByteRows) else v for key, v in batch.items()}


def _grouped(batches: Iterator[dict[str, Any]], group: int, share: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields groups of batches as [parts, share, ...], to be taken apart again by TensorFlow."""
    held: list[dict[str, Any]] = []
    for batch in batches:
        held.append(batch)
        if len(held) == group:
            yield _stacked(held, share)
            held = []
    if held:
        yield _stacked(held, share)


def _stacked(held: list[dict[str, Any]], share: int) -> dict[str, np.ndarray]:
    out = {}
    for key in held[0]:
        values = [batch[key] for batch in held]
        if isinstance(values[0], ByteRows):
            out[key] = string_protos([(v, start, start + share) for v in values for start in range(0, len(v), share)])
            continue
        joined = np.concatenate(values) if len(values) > 1 else values[0]
        out[key] = joined.reshape(-1, share, *joined.shape[1:])
    return out


def _parts(feed: Feed | MixedFeed, share: int) -> Iterator[dict[str, Any]]:
    """Yields each replica's part of batches with ragged columns; an empty batch is one part."""
    for batch in feed.made_ahead(lambda batch: batch):
        for start in range(0, max(1, _num_rows(batch)), share):
            yield {key: _rows(value, start, start + share) for key, value in batch.items()}


def _num_rows(batch: dict[str, Any]) -> int:
    value = next(iter(batch.values()))
    return len(value[1]) - 1 if isinstance(value, tuple) else len(value)


def _rows(value: Any, start: int, stop: int) -> Any:
    if isinstance(value, ByteRows):
        return string_protos([(value, start, min(stop, len(value)))])[0]
    if not isinstance(value, tuple):
        return value[start:stop]
    values, splits = value
    splits = splits[start : stop + 1]
    part = values[splits[0] : splits[-1]]
    if isinstance(part, pa.Array):
        part = string_protos([(values_rows(part), 0, len(part))])[0]
    return part, splits - splits[0]


def _finished(layout: Layout, packed: dict[str, Any], size: int | None) -> dict[str, Any]:
    """Returns what `Feed.dataset` gives of what the generator yielded, `size` rows of it, or any number of them."""
    out = dict(packed)
    if BYTES in packed:
        out[BYTES] = parse_strings(packed[BYTES], [-1 if size is None else size, layout.width(BYTES)])
    for column in layout.ragged:
        values, splits = packed[column.name]
        if column.kind == BYTES:
            values = parse_strings(values, [-1])
        out[column.name] = tf.RaggedTensor.from_row_splits(values, splits, validate=False)
    return out


def unpack(layout: Layout, packed: dict[str, Any]) -> dict[str, Any]:
    """Returns tensors by feature name, shaped as tf.io.parse_example gives them.

    Args:
        layout: of the packed batch.
        packed: an element of `Feed.dataset`, or rows sliced from one.

    Returns:
        Dense columns [b, *shape]; lists and values that may be missing as SparseTensor, or RaggedTensor where the
        schema says so; `mask` and `record_ids` as they are.
    """
    if not layout.ragged and ONE_BUFFER in packed:
        packed = parted(layout, packed)
    by_name: dict[str, Any] = {}
    for kind in _DTYPES:
        columns = layout.dense(kind)
        if not columns:
            continue
        parts = tf.split(packed[kind], [c.width for c in columns], axis=1)
        for column, part in zip(columns, parts):
            by_name[column.name] = tf.reshape(part, [part.shape[0] or -1, *column.shape])
    for column in layout.ragged:
        rows = packed[column.name]
        by_name[column.name] = rows if column.feature == "ragged" else rows.to_sparse()
    out = {name: by_name[name] for name in layout.names}
    return {**out, **{key: packed[key] for key in RESERVED if key in packed}}
