"""Python's garbage collector, held off while large and long-lived objects are made and used."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

__all__ = ["Departures", "Frozen", "collect_grown", "pause_collection"]

GROWTH = 1.25  # as Python: a full collection is due when there are a quarter more objects than the last left


@contextlib.contextmanager
def pause_collection() -> Iterator[None]:
    """Pauses the collector: tracing makes many objects and little garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Frozen:
    """Keeps what is there out of the collector's sight until the block ends, and leaves a program's own freeze alone.

    Python has one set of frozen objects for the whole process, and thaws all of them at once: where the program that calls us has
    frozen its own, a thaw here would undo it, so nothing is frozen then.

    Python does not count thawed objects towards its next full collection. Graphs are full of cycles, which nothing else frees: call
    `collect_grown` when the last reference to them is gone, or one graph after another stays.

    Attributes:
        count: objects at the last freeze, 0 after a collection.
        live: objects that the last collection of `collect_grown` left.
    """

    count: ClassVar[int] = 0
    live: ClassVar[int] = 0

    def __init__(self) -> None:
        self._ours = False

    def __enter__(self) -> Frozen:
        if not Frozen.live:
            Frozen.live = len(gc.get_objects())
        return self

    def freeze(self) -> None:
        """Takes all objects that are there now out of collections."""
        if not gc.get_freeze_count():
            gc.freeze()
            self._ours = True
            Frozen.count = gc.get_freeze_count()

    def __exit__(self, *_: object) -> None:
        if self._ours:
            gc.unfreeze()


def collect_grown() -> None:
    """Collects garbage where what was frozen had grown by a quarter since the last time."""
    if gc.isenabled() and Frozen.count > GROWTH * Frozen.live:
        gc.collect()
        Frozen.count, Frozen.live = 0, len(gc.get_objects())


class Departures:
    """Collects what each large object leaves behind soon after it has gone, before there is the garbage of many.

    A collection holds every thread up. Where Python comes to it by itself, after some of the objects, it takes as many times longer;
    and until then what they left takes memory.
    """

    def __init__(self) -> None:
        self._leaving: list[weakref.ref[Any]] = []

    def note(self, leaving: object) -> None:
        """Takes note of an object that whoever still uses it lets go soon."""
        self._leaving.append(weakref.ref(leaving))

    def collect(self) -> None:
        """Collects garbage where one of the objects has gone since the last call."""
        left = [each for each in self._leaving if each() is not None]
        if len(left) < len(self._leaving):
            self._leaving = left
            gc.collect()
