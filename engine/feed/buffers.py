"""Memory that is used again once nobody looks at it: fresh pages from the system cost as much as filling them."""

from __future__ import annotations

import sys
import threading

import numpy as np

__all__ = ["BufferPool", "aligned_empty"]

_ALIGN = 64  # TensorFlow takes over memory aligned like this without a copy
_KEPT = 64


def _allocate(size: int) -> np.ndarray:
    return np.empty(size + _ALIGN, np.uint8)


def _view(raw: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    start = -raw.ctypes.data % _ALIGN
    size = int(np.prod(shape)) * dtype.itemsize
    return raw[start : start + size].view(dtype).reshape(shape)


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Returns an uninitialised array whose memory begins at a multiple of 64 bytes."""
    return _view(_allocate(int(np.prod(shape)) * dtype.itemsize), shape, dtype)


class BufferPool:
    """Gives out arrays whose memory comes back by itself when the last array (or tensor) on it is gone.

    That moment is seen by the reference count of the memory's owner, so nobody has to hand anything back, and an array
    that a consumer keeps is never written again. Used from several threads.
    """

    def __init__(self) -> None:
        self._raws: list[np.ndarray] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Returns an uninitialised array whose memory begins at a multiple of 64 bytes."""
        size = int(np.prod(shape)) * dtype.itemsize
        with self._lock:
            for i in range(len(self._raws)):
                raw = self._raws[i]
                # Three references: the list's, this name's, the call's. Views, however far removed, add theirs.
                if size + _ALIGN <= raw.nbytes <= 2 * size + _ALIGN and sys.getrefcount(raw) == 3:
                    self._raws.append(self._raws.pop(i))
                    return _view(raw, shape, dtype)
            raw = _allocate(size)
            self._raws.append(raw)
            if len(self._raws) > _KEPT:
                del self._raws[0]  # the longest unused; whoever still uses it keeps it alive
            return _view(raw, shape, dtype)
