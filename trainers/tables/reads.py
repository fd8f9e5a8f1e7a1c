"""Which rows a forward pass read, so that their gradients can be taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

__all__ = ["Read", "note_read", "reads_of"]


@dataclass(frozen=True, kw_only=True)
class Read:
    """One look-up.

    Args:
        table: a `ShardedTable`.
        asked: ids, int64, of all workers.
        rows: float32 [ids of this worker, width], watched by the tape.
    """

    table: Any
    asked: Any
    rows: Any


_READS: ContextVar[tuple[Any, list[Read]] | None] = ContextVar("fullpass_table_reads", default=None)


@contextlib.contextmanager
def reads_of(tape: tf.GradientTape) -> Iterator[list[Read]]:
    """Yields a list that gets every look-up of the block, watched by the tape."""
    reads: list[Read] = []
    token = _READS.set((tape, reads))
    try:
        yield reads
    finally:
        _READS.reset(token)


def note_read(table: Any, asked: Any, rows: Any) -> Any:
    """Returns the rows, to be used in place of those given."""
    found = _READS.get()
    if found is None:
        return rows
    tape, reads = found
    rows = tf.identity(rows)
    tape.watch(rows)
    reads.append(Read(table=table, asked=asked, rows=rows))
    return rows
