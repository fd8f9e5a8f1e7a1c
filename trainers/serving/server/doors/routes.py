"""What the specs and paths of requests name, remembered: most clients ask for the same again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Routes"]

_MOST = 1024  # that are remembered
_MOST_BYTES = 1024  # of one that is: clients choose them, up to the size of a message

Route = TypeVar("Route")


class Routes(Generic[Route]):
    """Routes by the bytes that a client sent.

    Args:
        read: returns the route that bytes name; None where they name none.
    """

    def __init__(self, read: Callable[[bytes], Route | None]) -> None:
        self._read = read
        self._known: dict[bytes, Route | None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, sent: bytes) -> Route | None:
        """Returns the route that was sent; None where it is none."""
        if len(sent) > _MOST_BYTES:
            return self._read(sent)
        if sent not in self._known:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[sent] = self._read(sent)
        return self._known[sent]
