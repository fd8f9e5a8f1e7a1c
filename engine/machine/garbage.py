"""Python's garbage collector, held off while large and long-lived objects are made and used."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["Frozen", "pause_collection"]


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
    """

    def __init__(self) -> None:
        self._ours = False

    def __enter__(self) -> Frozen:
        return self

    def freeze(self) -> None:
        """Takes all objects that are there now out of collections."""
        if not gc.get_freeze_count():
            gc.freeze()
            self._ours = True

    def __exit__(self, *_: object) -> None:
        if self._ours:
            gc.unfreeze()
