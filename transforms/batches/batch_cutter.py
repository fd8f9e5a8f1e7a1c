"""How many records go through a graph at once: as many as a bound of bytes allows, whatever a record becomes inside the graph.

A thousand bytes of JPEG are 300 kB of pixels, and a lookup by key may make a matrix of [records, keys]. So the first records are
run in growing slices while the peak of the process's memory is watched, and batches are cut so that the steepest slice's bytes a
record stay within the bound. Slices are powers of two: measuring twice gives the same cut unless a record is near the edge.
A batch that runs out of memory all the same is halved and run again.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import re
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from transforms.batches.graph_strings import StringsTooLarge

__all__ = [
    "DEFAULT_MEMORY",
    "DEFAULT_MEMORY_BYTES",
    "BatchCutter",
    "memory_bytes",
    "peak_of_process",
    "reader_rows",
    "rows_within",
]

_log = logging.getLogger(__name__)
DEFAULT_MEMORY = "2Gi"  # of a worker
DEFAULT_MEMORY_BYTES = 2 << 30
_LEAST_BYTES = 64 << 20
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_EXPANSION = 4  # what a byte of a file may become in Arrow: Parquet is compressed and encoded
_SHARE = 4  # a worker's memory also holds TensorFlow itself, the batch that is read, and the states
_FIRST_ROWS, _GROWTH = 16, 8
_CLEAR_BYTES = 32 << 20  # a rise that is more than noise of the allocator


class BatchCutter:
    """Cuts batches for a function of batches; may be used by several threads at once.

    Args:
        run: what is done with a batch. It has no effect but its result: slices are run again.
        memory_bytes: what a worker may hold; a fourth of it is for one batch in the graph.
        peak_of: calls what it is given and returns the most bytes that the call took.

    Attributes:
        on_measured: called whenever the memory of a batch's records is known, before the batch is run.
    """

    def __init__(
        self,
        run: Callable[[pa.RecordBatch], Any],
        memory_bytes: int,
        peak_of: Callable[[Callable[[], object]], int] | None = None,
    ) -> None:
        self._run, self._peak_of = run, peak_of or peak_of_process
        self.on_measured: Callable[[], None] = lambda: None
        self._bound_bytes = max(memory_bytes // _SHARE, 1 << 20)
        self._lock = threading.Lock()
        self._measured_rows = 0  # batches of up to as many are known
        self._bytes_a_row = self._bytes_a_byte = 0.0

    def __call__(self, batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, Any]]:
        """Yields (slice, result) over the records of the batch, in order.

        Raises:
            DataError: when a single record takes more memory than there is.
        """
        start, rows = 0, self._rows(batch)
        self.on_measured()
        while start < batch.num_rows:
            piece = batch.slice(start, rows) if rows < batch.num_rows else batch
            try:
                result = self._run(piece)
            except Exception as error:
                if not _out_of_memory(error):
                    raise
                if piece.num_rows == 1:
                    raise DataError(f"one record takes more memory in the graph than there is: {error}") from error
                rows = max(rows // 2, 1)
                _log.warning("a batch of %d records ran out of memory; %d are run at once", piece.num_rows, rows)
                self._note_rows(rows)
                continue
            yield piece, result
            start += piece.num_rows

    def cut(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Yields the slices alone, for what runs them elsewhere."""
        rows = self._rows(batch)
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows) if rows < batch.num_rows else batch

    def _rows(self, batch: pa.RecordBatch) -> int:
        if batch.num_rows <= _FIRST_ROWS:
            return max(int(batch.num_rows), 1)
        with self._lock:
            if batch.num_rows > self._measured_rows:
                self._measure(batch)
            heaviest = max(self._bytes_a_row, self._bytes_a_byte * batch.nbytes / batch.num_rows)
        return rows_within(batch.num_rows, heaviest, self._bound_bytes)

    def _note_rows(self, rows: int) -> None:
        with self._lock:
            self._bytes_a_row = max(self._bytes_a_row, self._bound_bytes / rows)

    def _measure(self, batch: pa.RecordBatch) -> None:
        """Runs growing slices until one is clearly seen in the process's memory."""
        if not self._measured_rows:
            self._peak(batch.slice(0, 1))  # what the first call alone takes is not the records'
        rows = _FIRST_ROWS
        while True:
            piece = batch.slice(0, rows)
            peak = self._peak(piece)
            if peak >= _CLEAR_BYTES or peak * _GROWTH >= self._bound_bytes:
                self._measured_rows = sys.maxsize
                self._bytes_a_row = max(self._bytes_a_row, peak / rows)
                self._bytes_a_byte = peak / max(piece.nbytes, 1)
                return
            if rows * _GROWTH >= batch.num_rows:  # so many are within the bound: this slice was an eighth of them
                self._measured_rows = rows * _GROWTH
                return
            rows *= _growth(peak)

    def _peak(self, piece: pa.RecordBatch) -> int:
        too_much = False

        def run() -> None:
            nonlocal too_much
            try:
                self._run(piece)
            except Exception as error:
                if not _out_of_memory(error):
                    raise
                too_much = True

        peak = self._peak_of(run)
        return max(peak, self._bound_bytes) if too_much else peak


def _growth(peak: int) -> int:
    """By how much the next slice is longer: no more than is needed to see it clearly, since every other thread waits for it."""
    needed = 2
    while needed < _GROWTH and peak * needed < _CLEAR_BYTES:
        needed *= 2
    return needed


def memory_bytes(memory: int | str) -> int:
    """Returns a size of memory in bytes.

    Args:
        memory: bytes, or a text like "2Gi" or "512Mi".

    Raises:
        ConfigError: for anything else, and for less than 64Mi.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti)?", str(memory))
    size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if size < _LEAST_BYTES:
        raise ConfigError(
            f"memory is {memory!r}; it takes a size of at least 64Mi, such as 512Mi, 2Gi or 1073741824 (bytes)"
        )
    return size


def reader_rows(batch_rows: int, size_bytes: int, num_records: int | None, memory: int) -> int:
    """Returns how many records to read at once: `batch_rows`, or fewer where records are large.

    Args:
        batch_rows: most records of a batch.
        size_bytes: of all files.
        num_records: in them; None where it is not known.
        memory: bytes that a worker may hold.

    Raises:
        ConfigError: batch_rows is below 1.
    """
    if batch_rows < 1:
        raise ConfigError(f"batch_rows is {batch_rows}; it takes 1 or more")
    if not num_records:
        return batch_rows
    return rows_within(batch_rows, _EXPANSION * size_bytes / num_records, memory / (2 * _SHARE))


def rows_within(rows: int, bytes_a_row: float, bound_bytes: float) -> int:
    """Returns `rows`, or the largest power of two that keeps its bytes within the bound, at least 1."""
    if rows * bytes_a_row <= bound_bytes:
        return max(rows, 1)
    fitting = max(int(bound_bytes / bytes_a_row), 1)
    return 1 << (fitting.bit_length() - 1)


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, StringsTooLarge)):  # pyarrow's ArrowMemoryError is a MemoryError
        return True
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(error, tf.errors.ResourceExhaustedError)


def peak_of_process(call: Callable[[], object]) -> int:
    """Returns by how many bytes the memory of this process rose at most while it made a call."""
    with _watching() as watch:
        call()
    return watch.peak_bytes


class _Watch:
    """The highest memory of the process since it was made, beyond what it held then."""

    def __init__(self) -> None:
        self._resets = _reset_peak()
        self._before = _status_bytes("VmRSS:") if self._resets else _highest_bytes()
        self.peak_bytes = 0

    def stop(self) -> None:
        highest = _status_bytes("VmHWM:") if self._resets else _highest_bytes()
        self.peak_bytes = max(highest - self._before, 0)


@contextlib.contextmanager
def _watching() -> Iterator[_Watch]:
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).malloc_trim(0)  # memory that was freed and kept would hide what is taken
    watch = _Watch()
    try:
        yield watch
    finally:
        watch.stop()


def _reset_peak() -> bool:
    """Sets the system's high-water mark to what is held now (proc(5), clear_refs); False where there is none to set."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return _status_bytes("VmHWM:") > 0
    except OSError:
        return False


def _status_bytes(key: str) -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) << 10
    return 0


def _highest_bytes() -> int:
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest << 10
