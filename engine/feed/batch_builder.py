"""Builds one host's packed batches, one after another, from the windows of a plan."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine import _native
from engine._native import ByteRows
from engine.feed.columns import BUFFER_ORDER, BYTES, ONE_BUFFER, Layout
from engine.feed.config import FeedConfig
from engine.feed.pack import NUMPY_TYPES
from engine.feed.windows import LoadedWindow, WindowLoader
from engine.plan import Cursor, EpochPlan, Remainder
from engine.plan.lanes import Run

__all__ = ["Assembler"]

_SEQUENTIAL_AHEAD = 4
_GATHER_THREADS = 4  # they outrun whatever reads; to start more for each batch takes longer than they save

# Rows order[first:stop] of a window's array go to a batch's from a slot on.
_Job: TypeAlias = tuple[np.ndarray, np.ndarray, int, int, np.ndarray, int]


class _Strand:
    """One lane's way through its windows: the one in use, and those read ahead."""

    def __init__(self) -> None:
        self.loaded: LoadedWindow | None = None
        self.ahead: list[LoadedWindow] = []


class Assembler:
    """Makes packed batches.

    Args:
        plan: which records.
        layout: where their columns go.
        loader: reads windows.
        config: of the feed.
        one_buffer: let the rows of numbers of a batch lie in one buffer, which is its "one_buffer".
    """

    def __init__(
        self, plan: EpochPlan, layout: Layout, loader: WindowLoader, config: FeedConfig, one_buffer: bool = False
    ) -> None:
        self._plan, self._layout, self._loader, self._config = plan, layout, loader, config
        self._one_buffer = one_buffer
        self._strands: dict[int, _Strand] = {}
        # Whether batches have more than numbers, for which each run's rows are looked at here.
        self._by_row = bool(layout.width(BYTES) or layout.ragged or config.with_record_ids or config.masked)
        self._ahead = 1 if config.shuffle else _SEQUENTIAL_AHEAD

    def batch(self, cursor: Cursor) -> dict[str, Any]:
        """Returns this host's slice of the global batch at the cursor.

        Returns:
            "float32" [b, n], "int64" [b, m], "bytes" ByteRows [b, k]; per ragged column, by its name, the pair
            (values [v], in Arrow where they are bytes, and row splits int64 [b + 1]); "record_ids" int64 [b] and "mask"
            bool [b] where asked for. See `engine.feed.tensorflow.strings` for what becomes of the bytes.
        """
        runs = self._plan.runs(cursor, self._config.host)
        filled = sum(run.stop - run.start for run in runs)
        size = filled if self._config.remainder is Remainder.PARTIAL else self._plan.host_batch_size
        return self.assemble(runs, size, filled)

    def assemble(self, runs: list[Run], size: int, filled: int) -> dict[str, Any]:
        """Returns a packed batch of `size` slots whose first `filled` the runs fill; the others are zero."""
        out = self._empty(size)
        if filled < size:
            for key in out.keys() - {ONE_BUFFER}:
                out[key][filled:] = 0
        if self._config.masked:
            out["mask"][:filled] = True
        if width := self._layout.width(BYTES):
            out[BYTES] = ByteRows(width)
        pieces: dict[str, list[pa.Array]] = {}
        jobs: list[_Job] = []
        for run in runs:
            self._fill(run, out, pieces, jobs)
        # One call for the whole batch, which the jobs keep their windows' memory for.
        _native.gather_rows(jobs, min(self._config.worker_threads, _GATHER_THREADS))
        if width:
            out[BYTES].append_empty(size - filled)
        self._finish(out, pieces, size, filled)
        return out

    def _empty(self, size: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self._one_buffer:
            whole, first = self._loader.buffers.empty((size * self._layout.row_bytes,), np.dtype(np.uint8)), 0
            out[ONE_BUFFER] = whole
        for kind in BUFFER_ORDER:
            width, dtype = self._layout.width(kind), NUMPY_TYPES[kind]
            if self._one_buffer:
                stop = first + size * width * dtype.itemsize
                out[kind], first = whole[first:stop].view(dtype).reshape(size, width), stop
            elif width:
                out[kind] = self._loader.buffers.empty((size, width), dtype)
        if self._config.with_record_ids:
            out["record_ids"] = self._loader.buffers.empty((size,), NUMPY_TYPES["int64"])
        if self._config.masked:
            out["mask"] = np.zeros(size, bool)
        return out

    def _fill(
        self,
        run: Run,
        out: dict[str, Any],
        pieces: dict[str, list[pa.Array]],
        jobs: list[_Job],
    ) -> None:
        at, slot = run.start, run.slot
        while at < run.stop:
            loaded = self._window_of(run, at)
            first, last = at - loaded.start, min(run.stop, loaded.stop) - loaded.start
            for kind, source in loaded.dense.items():
                jobs.append((source, loaded.order, first, last, out[kind], slot))
            if self._by_row:
                self._fill_others(loaded, loaded.order[first:last], slot, out, pieces)
            at, slot = at + last - first, slot + last - first

    def _fill_others(
        self, loaded: LoadedWindow, rows: np.ndarray, slot: int, out: dict[str, Any], pieces: dict[str, list[pa.Array]]
    ) -> None:
        """Fills in all but the numbers: strings, ragged columns, record ids and damage."""
        stop = slot + len(rows)
        if BYTES in out:
            out[BYTES].append(loaded.strings, loaded.window.offsets[:-1], rows)
        for key, array in loaded.arrow.items():
            pieces.setdefault(key, []).append(pc.take(array, pa.array(rows)))
        if "record_ids" in out:
            out["record_ids"][slot:stop] = loaded.window.record_ids(rows)
        if loaded.damaged is not None:
            out["mask"][slot:stop] = ~loaded.damaged[rows]

    def _window_of(self, run: Run, at: int) -> LoadedWindow:
        strand = self._strands.get(run.lane)
        if strand is None:
            strand = self._strands[run.lane] = _Strand()
        loaded = strand.loaded
        if loaded is None or loaded.epoch != run.epoch or not loaded.start <= at < loaded.stop:
            loaded = self._enter(strand, run, at)
        return loaded

    def _enter(self, strand: _Strand, run: Run, at: int) -> LoadedWindow:
        window = self._plan.window_at(run.epoch, at)
        loaded = self._loader.acquire(window)
        previous = [w for w in (strand.loaded, *strand.ahead) if w is not None]
        strand.loaded = loaded
        strand.ahead = self._read_ahead(run, loaded)
        for other in previous:
            self._loader.release(other)
        loaded.wait()
        return loaded

    def _read_ahead(self, run: Run, loaded: LoadedWindow) -> list[LoadedWindow]:
        ahead: list[LoadedWindow] = []
        epoch, place = run.epoch, loaded.window.stop
        for _ in range(self._ahead if run.lane >= 0 else 0):
            if epoch == run.epoch:
                epoch, place = self._plan.next_place(run, place)
            if self._config.num_epochs is not None and epoch >= self._config.num_epochs:
                break
            ahead.append(self._loader.acquire(self._plan.window_at(epoch, place)))
            place = ahead[-1].window.stop
            if epoch != run.epoch:
                break
        return ahead

    def _finish(self, out: dict[str, Any], pieces: dict[str, Any], size: int, filled: int) -> None:
        for column in self._layout.ragged:
            values: Any = (
                np.empty(0, NUMPY_TYPES[column.kind]) if column.kind != BYTES else pa.array([], pa.large_binary())
            )
            splits: np.ndarray = np.zeros(size + 1, np.int64)
            if column.name in pieces:
                lists = pa.concat_arrays(pieces[column.name])
                values = lists.flatten()
                if column.kind != BYTES:
                    values = values.to_numpy(zero_copy_only=False)
                splits[: filled + 1] = lists.offsets.to_numpy() - lists.offsets[0].as_py()
                splits[filled + 1 :] = splits[filled]
            out[column.name] = values, splits
