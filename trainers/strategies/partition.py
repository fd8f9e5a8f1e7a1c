"""Which variables are split over the parameter servers: the rows of embedding tables, and nothing else.

TensorFlow asks a strategy's partitioner about every variable, and computes the variable's first value on the chief before it asks.
Keras 3 cannot build on a split one either, so a strategy has its partitioner inside of `split_over_servers` alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from engine.core.configs import require

__all__ = ["set_table_partitioner", "split_over_servers", "table_partitioner"]

# TensorFlow sends a variable's first value in one message, which protobuf bounds at 2 GiB; the chief holds one part at a time.
_MOST_PART_BYTES = 1 << 28

_OF_STRATEGIES: WeakKeyDictionary[Any, Callable[..., list[int]]] = WeakKeyDictionary()


def set_table_partitioner(strategy: Any, partitioner: Callable[..., list[int]]) -> None:
    """Says how tables of a strategy with parameter servers are split."""
    _OF_STRATEGIES[strategy] = partitioner


@contextlib.contextmanager
def split_over_servers(strategy: Any) -> Iterator[None]:
    """Variables that are made inside the block, in the scope of the strategy, are split by the partitioner of its tables."""
    from trainers.compat.tensorflow import exchange_partitioner

    before = exchange_partitioner(strategy, _OF_STRATEGIES[strategy])
    try:
        yield
    finally:
        exchange_partitioner(strategy, before)


def table_partitioner(num_servers: int, min_shard_bytes: int | None) -> Callable[..., list[int]]:
    """Returns the partitioner of tables: a part of a table on each server, more where parts would be too large.

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
        return max(list(spread(shape, dtype)), list(bounded(shape, dtype)))

    return partitions
