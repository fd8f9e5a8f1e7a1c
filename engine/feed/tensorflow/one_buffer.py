"""A batch of numbers as one buffer: one copy to an accelerator, where each type of column has one of its own otherwise."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from engine.feed.columns import BUFFER_ORDER, BYTES, FLOAT32, INT64, ONE_BUFFER, Layout
from engine.feed.config import FeedConfig
from engine.feed.pack import NUMPY_TYPES
from engine.plan import Remainder

__all__ = ["parted", "takes_one_buffer", "without_views"]

_TENSOR_TYPES = {INT64: tf.int64, FLOAT32: tf.float32}


def takes_one_buffer(layout: Layout, config: FeedConfig) -> bool:
    """Returns whether batches fit into one buffer: of numbers alone, of both types, in batches of one size."""
    only_numbers = not layout.ragged and not layout.width(BYTES)
    return only_numbers and all(map(layout.width, BUFFER_ORDER)) and config.remainder is not Remainder.PARTIAL


def without_views(batch: dict[str, Any]) -> dict[str, Any]:
    """Returns a batch that was assembled in one buffer without the arrays that look into it."""
    return {key: value for key, value in batch.items() if key not in BUFFER_ORDER}


def parted(layout: Layout, packed: dict[str, Any]) -> dict[str, Any]:
    """Returns a batch with a tensor for each type of column again, bit for bit; to be called inside of a step."""
    out = dict(packed)
    whole, first = out.pop(ONE_BUFFER), 0
    rows = int(whole.shape[0]) // layout.row_bytes
    for kind in BUFFER_ORDER:
        shape = [rows, layout.width(kind), NUMPY_TYPES[kind].itemsize]
        stop = first + shape[0] * shape[1] * shape[2]
        out[kind] = tf.bitcast(tf.reshape(whole[first:stop], shape), _TENSOR_TYPES[kind])
        first = stop
    return out
