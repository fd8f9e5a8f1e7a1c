"""Where the rows of tables are: in which process of how many, or on parameter servers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["TablePlace", "current_place", "table_place"]


@dataclass(frozen=True, kw_only=True)
class TablePlace:
    """Which part of each table this process holds.

    Args:
        index: this worker, from 0.
        count: workers that share the tables.
        on_servers: the rows are on the parameter servers of the strategy, and this process reaches all of them.
        seed: of the first values.
    """

    index: int = 0
    count: int = 1
    on_servers: bool = False
    seed: int = 0


_PLACE: ContextVar[TablePlace | None] = ContextVar("fullpass_table_place", default=None)


@contextlib.contextmanager
def table_place(place: TablePlace) -> Iterator[None]:
    """Tables that are made inside the block hold this part of their rows; elsewhere they hold all of them."""
    token = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(token)


def current_place() -> TablePlace:
    """Returns the place of tables that are made now."""
    return _PLACE.get() or TablePlace()
