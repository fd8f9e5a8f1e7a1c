"""Opened files that readers keep for the next block, and let go where their file is gone for good."""

from __future__ import annotations

import collections
import contextlib
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

__all__ = ["OpenFiles", "forget"]

T = TypeVar("T")
_ALL: weakref.WeakSet[Any] = weakref.WeakSet()


class OpenFiles(Generic[T]):
    """The files that were used last; any number of threads may ask.

    There is no lock, which a process that is forked meanwhile would wait for: each step is one call of a dictionary.

    Args:
        most: files that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: collections.OrderedDict[tuple[Hashable, ...], T] = collections.OrderedDict()
        _ALL.add(self)

    def get(self, path: str, *marks: Hashable, opened: Callable[[], T]) -> T:
        """Returns the file that was opened under the same path and marks, or what `opened` returns, which is then kept."""
        key = (path, *marks)
        with contextlib.suppress(KeyError):
            found = self._kept[key]
            self._kept.move_to_end(key)
            return found
        found = self._kept[key] = opened()
        if len(self._kept) > self._most:
            with contextlib.suppress(KeyError):
                self._kept.popitem(last=False)
        return found

    def forget(self, path: str) -> None:
        """Lets go of every file that was opened under a path."""
        for key in [key for key in list(self._kept) if key[0] == path]:
            self._kept.pop(key, None)


def forget(path: str) -> None:
    """Lets go of a path in every cache: what came through a pipe takes disk space as long as somebody has it open."""
    for kept in list(_ALL):
        kept.forget(path)
