"""Reads the windows of a plan ahead of their use, in native threads, and lets them go when no run needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from engine._native import ByteRows
from engine.core.errors import DataError
from engine.feed.blocks.block_reader import BlockSource
from engine.feed.buffers import BufferPool
from engine.feed.columns import BYTES, Layout
from engine.feed.pack import NUMPY_TYPES, RowPacker, bytes_rows, ragged_rows
from engine.plan import Window

__all__ = ["LoadedWindow", "WindowLoader"]

# Of a window, its order and its ragged columns: the order to use.
Regroup = Callable[[Window, np.ndarray, Mapping[str, pa.Array]], np.ndarray]


class LoadedWindow:
    """A window's records in packed form.

    Attributes:
        window: which blocks.
        epoch, start, stop: of the window, which are asked for with each run of each batch.
        dense: "float32" and "int64" -> [num_records, width].
        strings: the dense bytes columns, block after block; none where there are no such columns.
        arrow: ragged column name -> large_list [num_records].
        damaged: bool [num_records], or None where no record is.
        order: int64 [num_records], the row at each position of the window.
    """

    def __init__(
        self,
        window: Window,
        layout: Layout,
        buffers: BufferPool,
        packer: RowPacker,
        regroup: Regroup | None = None,
    ) -> None:
        self.window = window
        self.epoch, self.start, self.stop = window.epoch, window.start, window.stop
        self._buffers = buffers
        self.dense: dict[str, np.ndarray] = {}
        self.strings: list[ByteRows] = []
        self.arrow: dict[str, pa.Array] = {}
        self.damaged: np.ndarray | None = None
        self.order: np.ndarray = np.empty(0, np.int64)
        self._regroup = regroup
        self.users = 0
        self._layout, self._packer = layout, packer
        self._only_numbers = not layout.ragged and not layout.width(BYTES)
        self._parts: dict[str, list[Any]] = {}
        self._blocks: list[Future[None]] = []
        self._lock = threading.Lock()

    def load(self, pool: ThreadPoolExecutor, source: BlockSource) -> None:
        """Begins to read the blocks."""
        self._blocks = [pool.submit(self._shuffle)]
        self._blocks += [pool.submit(self._load_block, source, i) for i in range(len(self.window.blocks))]

    def wait(self) -> None:
        """Returns once every block is loaded; raises what the reading of a block raised."""
        if not self._blocks:
            return
        for block in self._blocks:
            block.result()
        self._blocks = []
        self.arrow = {key: pa.concat_arrays(parts) for key, parts in self._parts.items()}
        self._parts = {}
        if self._regroup is not None:
            self.order = self._regroup(self.window, self.order, self.arrow)

    def cancel(self) -> None:
        for block in self._blocks:
            block.cancel()

    def _allocate(self) -> None:
        with self._lock:
            if self.dense or self.strings or self._parts:
                return
            rows, blocks = self.window.num_records, len(self.window.blocks)
            self._parts = {c.name: [None] * blocks for c in self._layout.ragged}
            if width := self._layout.width(BYTES):
                self.strings = [ByteRows(width)] * blocks
            self.dense = {
                kind: self._buffers.empty((rows, self._layout.width(kind)), dtype)
                for kind, dtype in NUMPY_TYPES.items()
                if self._layout.width(kind)
            }

    def _shuffle(self) -> None:
        self.order = self.window.rows(self.window.start, self.window.stop)

    def _load_block(self, source: BlockSource, i: int) -> None:
        first, stop = int(self.window.offsets[i]), int(self.window.offsets[i + 1])
        block = int(self.window.blocks[i])
        if self._only_numbers:
            self._allocate()
            if source.pack(block, self._packer.native, [out[first:stop] for out in self.dense.values()]):
                return
        batch, damaged = source.read(block, stop - first)
        self._allocate()
        try:
            self._pack(batch, i, first, stop)
        except DataError as fault:
            raise source.located(block, fault) from fault.__cause__
        if damaged is not None:
            with self._lock:
                if self.damaged is None:
                    self.damaged = np.zeros(self.window.num_records, bool)
                self.damaged[first:stop] = damaged

    def _pack(self, batch: pa.RecordBatch, i: int, first: int, stop: int) -> None:
        if self.dense:
            self._packer.pack(batch, {kind: out[first:stop] for kind, out in self.dense.items()})
        if self.strings:
            self.strings[i] = bytes_rows(batch, self._layout)
        for column in self._layout.ragged:
            self._parts[column.name][i] = ragged_rows(batch, column)


class WindowLoader:
    """Shares loaded windows between the runs that use them.

    Args:
        source: reads blocks.
        layout: of the packed batch.
        threads: blocks read at the same time.
        regroup: what is done to the order of a window once its ragged columns are there, see `EpochPlan.regrouped`.

    Attributes:
        buffers: memory of the windows, for batches too.
    """

    def __init__(self, source: BlockSource, layout: Layout, threads: int, regroup: Regroup | None = None) -> None:
        self._source, self._layout, self._regroup = source, layout, regroup
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fullpass-feed")
        self._packer = RowPacker(layout)
        self.buffers = BufferPool()
        self._live: dict[tuple[int, int], LoadedWindow] = {}

    def acquire(self, window: Window) -> LoadedWindow:
        """Returns the window, its loading begun; it stays until `release` was called as often."""
        key = (window.epoch, window.start)
        loaded = self._live.get(key)
        if loaded is None:
            loaded = self._live[key] = LoadedWindow(window, self._layout, self.buffers, self._packer, self._regroup)
            loaded.load(self._pool, self._source)
        loaded.users += 1
        return loaded

    def release(self, loaded: LoadedWindow) -> None:
        """Lets the window go when this was its last user."""
        loaded.users -= 1
        if loaded.users == 0:
            del self._live[loaded.window.epoch, loaded.window.start]
            loaded.cancel()

    def close(self) -> None:
        """Stops reading; running reads end in the background."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._live.clear()
