"""Work ahead of whoever consumes it: an iterator in a thread of its own, or the items of one in several, in their order."""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["batches_ahead", "map_in_order", "run_ahead"]

_T = TypeVar("_T")
_MADE = TypeVar("_MADE")
_END = object()
_AHEAD_BYTES = 64 << 20  # of batches that wait: more hide no more of the work, and each feed has such a queue


def batches_ahead(wanted: int, batch_bytes: float) -> int:
    """Returns how many batches may wait for their consumer: fewer than wanted where they are large, but one at least."""
    return max(1, min(wanted, int(_AHEAD_BYTES / batch_bytes))) if batch_bytes else wanted


def map_in_order(work: Callable[[_T], _MADE], items: Iterable[_T], threads: int) -> Generator[_MADE, None, None]:
    """Yields what `work` makes of each item, in order; one item more than there are threads is worked on or waits.

    Args:
        work: called in other threads; only where it lets go of the interpreter are more cores of use.
        items: asked for in the caller's thread.
        threads: at least 1.

    Raises:
        BaseException: of `work`, or of the items, behind the results of all that came before.
    """
    waiting: collections.deque[Future[_MADE]] = collections.deque()
    stream, fault = iter(items), None
    with ThreadPoolExecutor(threads, "fullpass-ahead") as pool:
        try:
            while True:
                try:
                    item = next(stream)
                except StopIteration:
                    break
                except Exception as error:
                    fault = error
                    break
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    if fault is not None:
        raise fault


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
