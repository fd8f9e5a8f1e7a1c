"""The variables with one row for each id: a plain one in this process, or parts on parameter servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainers.strategies.partition import split_over_servers

__all__ = ["BLOCK_ROWS", "RowPart", "blocks", "gathered_rows", "make_rows", "make_rows_on_servers", "parts_of"]

# Rows are made in blocks, each with a seed of its own: a table begins with the same values wherever its rows are.
BLOCK_ROWS = 1 << 16

FirstValues = Callable[[int, int], Any]
"""Is given a range of rows [low, high) that lies in one block, and returns float32 [high - low, width]."""


@dataclass(frozen=True, kw_only=True)
class RowPart:
    """Some rows.

    Args:
        first: number of the first one.
        variable: float32 [rows, width].
    """

    first: int
    variable: Any

    @property
    def size(self) -> int:
        """Rows of this part."""
        return int(self.variable.shape[0])

    def here(self, ids: Any) -> tuple[Any, Any]:
        """Returns (number of the row in this part, whether it is one of this part)."""
        here = ids - self.first
        return here, (here >= 0) & (here < self.size)


def blocks(first: int, size: int) -> Iterator[tuple[int, int]]:
    """Yields the ranges [low, high) of blocks that make up rows `first` to `first + size`."""
    for block in range(first // BLOCK_ROWS, (first + size - 1) // BLOCK_ROWS + 1):
        begin = block * BLOCK_ROWS
        yield max(begin, first), min(begin + BLOCK_ROWS, first + size)


def make_rows(first: int, size: int, width: int, name: str, values: FirstValues) -> Any:
    """Returns a plain variable of these rows, inside of a strategy's scope, too, where others are mirrored on all workers."""

    def make() -> Any:
        variable = tf.Variable(tf.zeros([size, width]), trainable=False, name=name)
        for low, high in blocks(first, size):
            variable[low - first : high - first].assign(values(low, high))
        return variable

    # The scope of a strategy belongs to a thread.
    with ThreadPoolExecutor(1, thread_name_prefix="fullpass-table") as pool:
        return pool.submit(make).result()


def make_rows_on_servers(strategy: Any, rows: int, width: int, name: str, values: FirstValues) -> Any:
    """Returns a variable of all rows in parts on the parameter servers; this process holds one part at a time while it makes them."""

    def first_values(shard_info: Any = None) -> Any:
        first, size = (0, rows) if shard_info is None else (int(shard_info.offset[0]), int(shard_info.shape[0]))
        return tf.concat([values(low, high) for low, high in blocks(first, size)], 0)

    with strategy.scope(), split_over_servers(strategy):
        return tf.Variable(first_values, shape=[rows, width], dtype=tf.float32, trainable=False, name=name)


def parts_of(variable: Any, first: int) -> list[RowPart]:
    """Returns the parts, in order, of a variable whose first row has this number."""
    if isinstance(variable, tf.Variable):
        return [RowPart(first=first, variable=variable)]
    parts = []
    for part in variable.variables:
        parts.append(RowPart(first=first, variable=part))
        first += parts[-1].size
    return parts


def gathered_rows(variable: Any, numbers: Any) -> Any:
    """Returns rows [numbers, width] of a variable; of one on servers, each sends the rows that it has."""
    if isinstance(variable, tf.Variable):
        return tf.gather(variable, numbers)
    # Of a list this takes parts as the partitioner cuts them: the first ones have one row more.
    return tf.nn.embedding_lookup(list(variable.variables), numbers)
