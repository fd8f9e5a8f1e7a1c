"""An iterator run ahead of its consumer in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

__all__ = ["batches_ahead", "run_ahead"]

_T = TypeVar("_T")
_END = object()
_AHEAD_BYTES = 64 << 20  # of batches that wait: more hide no more of the work, and each feed has such a queue


def batches_ahead(wanted: int, batch_bytes: float) -> int:
    """Returns how many batches may wait for their consumer: fewer than wanted where they are large, but one at least."""
    return max(1, min(wanted, int(_AHEAD_BYTES / batch_bytes))) if batch_bytes else wanted


def run_ahead(make: Callable[[], Iterator[_T]], depth: int) -> Iterator[_T]:
    """Yields what the iterator gives, made up to `depth` items ahead; what it raises is raised here.

    Args:
        make: called in the thread; its iterator is closed when the consumer goes away.
        depth: finished items that wait, >= 1.

    Raises:
        BaseException: whatever the iterator raised, as it was raised there.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()
    threading.Thread(target=_work, args=(make, ready, stop), name="fullpass-feed", daemon=True).start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


def _work(make: Callable[[], Iterator[_T]], ready: queue.Queue[Any], stop: threading.Event) -> None:
    try:
        items = make()
        for item in items:
            if not _put(ready, item, stop):
                items.close()  # type: ignore[attr-defined]
                return
        _put(ready, _END, stop)
    except BaseException as error:
        _put(ready, error, stop)


def _put(ready: queue.Queue[Any], item: Any, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False
