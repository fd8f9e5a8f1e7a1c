"""Which variables are split over the parameter servers: the rows of embedding tables, and nothing else.

TensorFlow asks a strategy's partitioner about every variable. Keras 3 cannot build on a split one, so the answer is "whole"
except inside of `split_over_servers`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from engine.core.configs import require

__all__ = ["split_over_servers", "table_partitioner"]

# TensorFlow sends a variable's first value in one message, which protobuf bounds at 2 GiB; the chief holds one part at a time.
_MOST_PART_BYTES = 1 << 28

_SPLITTING: ContextVar[bool] = ContextVar("fullpass_split_over_servers", default=False)


@contextlib.contextmanager
def split_over_servers() -> Iterator[None]:
    """Variables that are made inside the block are split by `table_partitioner`."""
    token = _SPLITTING.set(True)
    try:
        yield
    finally:
        _SPLITTING.reset(token)


def table_partitioner(num_servers: int, min_shard_bytes: int | None) -> Callable[..., list[int]]:
    """Returns the `variable_partitioner` of a strategy: a part of a table on each server, more where parts would be too large.

    Args:
        num_servers: parameter servers.
        min_shard_bytes: a small table has fewer parts, each of at least so many bytes; None: one on each server.

    Raises:
        ConfigError: `min_shard_bytes` is no whole number of 1 or more.
    """
    import tensorflow as tf

    kinds = tf.distribute.experimental.partitioners
    if min_shard_bytes is None:
        spread = kinds.FixedShardsPartitioner(num_servers)
    else:
        whole = isinstance(min_shard_bytes, int) and not isinstance(min_shard_bytes, bool)
        require(whole and min_shard_bytes >= 1, "min_shard_bytes", min_shard_bytes, "a whole number, at least 1")
        spread = kinds.MinSizePartitioner(min_shard_bytes, max_shards=num_servers)
    bounded = kinds.MaxSizePartitioner(_MOST_PART_BYTES)

    def partitions(shape: Any, dtype: Any) -> list[int]:
        if not _SPLITTING.get():
            return [1] * (shape.rank or 1)
        return max(list(spread(shape, dtype)), list(bounded(shape, dtype)))

    return partitions
