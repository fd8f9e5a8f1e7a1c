"""Memory that is used again once nobody looks at it: fresh pages from the system cost as much as filling them."""

from __future__ import annotations

import collections
import ctypes
import math
import threading
import weakref
from typing import Any

import numpy as np

__all__ = ["BufferPool", "aligned_empty"]

_ALIGN = 64  # TensorFlow takes over memory aligned like this without a copy
_FREE_BYTES = 256 << 20  # some batches of wide rows; beyond, what was needed once would be held for ever


def _allocate(size: int) -> np.ndarray:
    return np.empty(size + _ALIGN, np.uint8)


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Returns an uninitialised array whose memory begins at a multiple of 64 bytes."""
    size = _bytes(shape, dtype)
    raw = _allocate(size)
    start = -raw.ctypes.data % _ALIGN
    aligned: np.ndarray = raw[start : start + size].view(dtype).reshape(shape)
    return aligned


class BufferPool:
    """Gives out arrays whose memory comes back by itself when the last array (or tensor) on it is gone.

    Each array given out holds a lease of its own, an object that every view, slice and tensor made of it keeps alive. When
    the lease dies, its memory is free; so nobody has to hand anything back, and memory that a consumer still looks at is
    never written again. (A reference count read from outside would not tell: what an interpreter counts changes between
    releases of Python.) Used from several threads.

    Args:
        free_bytes: most bytes that are kept for another use; what comes back beyond it goes to the system.
    """

    def __init__(self, free_bytes: int = _FREE_BYTES) -> None:
        self._most_free = free_bytes
        self._free: list[np.ndarray] = []
        self._leases: dict[int, tuple[weakref.ref[ctypes.Array[ctypes.c_uint8]], np.ndarray]] = {}
        # A lease can die while this very thread holds the lock (a garbage collection inside of it): its end is only noted.
        self._ended: collections.deque[int] = collections.deque()
        self._lock = threading.Lock()
        self._number = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Returns an uninitialised array whose memory begins at a multiple of 64 bytes."""
        size = _bytes(shape, dtype)
        if not size:
            return np.empty(shape, dtype)
        with self._lock:
            self._take_back()
            raw = self._fitting(size)
        if raw is None:
            raw = _allocate(size)
        # It holds its memory, too: a consumer may outlive the pool.
        lease = (ctypes.c_uint8 * size).from_buffer(raw.data, -raw.ctypes.data % _ALIGN)
        with self._lock:
            self._number += 1
            number, ended = self._number, self._ended
            self._leases[number] = weakref.ref(lease, lambda _: ended.append(number)), raw
        return np.frombuffer(memoryview(lease), dtype).reshape(shape)

    def _take_back(self) -> None:
        while self._ended:
            self._free.append(self._leases.pop(self._ended.popleft())[1])
        while sum(raw.nbytes for raw in self._free) > self._most_free:
            del self._free[0]  # the longest unused

    def _fitting(self, size: int) -> np.ndarray | None:
        for i, raw in enumerate(self._free):
            if size + _ALIGN <= raw.nbytes <= 2 * size + _ALIGN:
                return self._free.pop(i)
        return None
