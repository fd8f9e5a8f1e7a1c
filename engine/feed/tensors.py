"""The feed as a tf.data.Dataset, and packed batches as tensors by feature name. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from engine.errors import ConfigError
from engine.feed.layout import BYTES, FLOAT32, INT64, RESERVED, Layout
from engine.plan import Remainder

if TYPE_CHECKING:
    from engine.feed.feed import Feed
    from engine.feed.mixed import MixedFeed

__all__ = ["make_dataset", "unpack"]

_DTYPES = {FLOAT32: tf.float32, INT64: tf.int64, BYTES: tf.string}
_RECORDS_AN_ELEMENT = 8192  # handing an element over costs about 0.3 ms whatever its size: small batches go together


def make_dataset(feed: Feed | MixedFeed, num_replicas: int) -> tf.data.Dataset:
    """Returns the dataset of `Feed.dataset`.

    Raises:
        ConfigError: the replicas do not divide the host's batch, or a partial batch were to be divided.
    """
    size = feed.host_batch_size
    partial = feed.config.remainder is Remainder.PARTIAL
    if num_replicas < 1 or size % num_replicas or (partial and num_replicas > 1):
        raise ConfigError(
            f"num_replicas is {num_replicas}: give a divisor of the host's batch of {size} records"
            + (", and with several replicas Remainder.PAD instead of PARTIAL" if partial else "")
        )
    share = size // num_replicas
    spec = _signature(feed, None if partial else share)
    left = feed.batches_left()
    group = max(1, _RECORDS_AN_ELEMENT // size)
    if feed.layout.ragged:
        dataset = tf.data.Dataset.from_generator(lambda: _parts(feed, share), output_signature=spec)
        dataset = dataset.map(lambda packed: _with_ragged(feed.layout, packed))
    elif partial or group * num_replicas == 1:
        dataset = tf.data.Dataset.from_generator(feed.batches, output_signature=spec)
    else:
        several = tf.nest.map_structure(lambda s: tf.TensorSpec([None, *s.shape], s.dtype), spec)
        dataset = tf.data.Dataset.from_generator(
            lambda: _grouped(feed.batches(), group, share), output_signature=several
        ).unbatch()
    # Known to be endless, tf.distribute need not ask all workers at each step whether they have data left.
    cardinality = tf.data.INFINITE_CARDINALITY if left is None else left * num_replicas
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(cardinality))
    options = tf.data.Options()
    # Every host has its own slice already; tf.distribute must neither shard nor reorder it.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.deterministic = True
    return dataset.with_options(options)


def _signature(feed: Feed | MixedFeed, size: int | None) -> dict[str, Any]:
    layout = feed.layout
    spec: dict[str, Any] = {
        kind: tf.TensorSpec([size, layout.width(kind)], dtype) for kind, dtype in _DTYPES.items() if layout.width(kind)
    }
    for column in layout.ragged:
        splits = tf.TensorSpec([None if size is None else size + 1], tf.int64)
        spec[column.name] = (tf.TensorSpec([None], _DTYPES[column.kind]), splits)
    if feed.config.with_record_ids:
        spec["record_ids"] = tf.TensorSpec([size], tf.int64)
    if feed.config.masked:
        spec["mask"] = tf.TensorSpec([size], tf.bool)
    return spec


def _grouped(batches: Iterator[dict[str, np.ndarray]], group: int, share: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields groups of batches as [parts, share, ...], to be taken apart again by TensorFlow."""
    held: list[dict[str, np.ndarray]] = []
    for batch in batches:
        held.append(batch)
        if len(held) == group:
            yield _stacked(held, share)
            held = []
    if held:
        yield _stacked(held, share)


def _stacked(held: list[dict[str, np.ndarray]], share: int) -> dict[str, np.ndarray]:
    out = {}
    for key in held[0]:
        joined = np.concatenate([batch[key] for batch in held]) if len(held) > 1 else held[0][key]
        out[key] = joined.reshape(-1, share, *joined.shape[1:])
    return out


def _parts(feed: Feed | MixedFeed, share: int) -> Iterator[dict[str, Any]]:
    """Yields each replica's part of batches with ragged columns; an empty batch is one part."""
    for batch in feed.batches():
        for start in range(0, max(1, _num_rows(batch)), share):
            yield {key: _rows(value, start, start + share) for key, value in batch.items()}


def _num_rows(batch: dict[str, Any]) -> int:
    value = next(iter(batch.values()))
    return len(value[1]) - 1 if isinstance(value, tuple) else len(value)


def _rows(value: Any, start: int, stop: int) -> Any:
    if not isinstance(value, tuple):
        return value[start:stop]
    values, splits = value
    splits = splits[start : stop + 1]
    return values[splits[0] : splits[-1]], splits - splits[0]


def _with_ragged(layout: Layout, packed: dict[str, Any]) -> dict[str, Any]:
    ragged = {c.name: tf.RaggedTensor.from_row_splits(*packed[c.name], validate=False) for c in layout.ragged}
    return {**packed, **ragged}


def unpack(layout: Layout, packed: dict[str, Any]) -> dict[str, Any]:
    """Returns tensors by feature name, shaped as tf.io.parse_example gives them.

    Args:
        layout: of the packed batch.
        packed: an element of `Feed.dataset`, or rows sliced from one.

    Returns:
        Dense columns [b, *shape]; lists and values that may be missing as SparseTensor, or RaggedTensor where the
        schema says so; `mask` and `record_ids` as they are.
    """
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
