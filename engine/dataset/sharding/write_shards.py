"""Even shards of every part, written by all cores: each thread reads the records of its own shard."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.core.progress import Progress
from engine.dataset.manifest import FileEntry
from engine.dataset.sharding.parts.assign import Assignment
from engine.dataset.sharding.read_once import read_once
from engine.dataset.sharding.source import Source
from engine.dataset.sharding.spool import spool_directory
from engine.dataset.shards import ShardSet
from engine.dataset.write import shard_name, write_batches
from engine.formats.registry import format_module
from engine.machine.processes import processors
from engine.schema.conform import conform
from engine.storage import paths as _paths

__all__ = ["write_parts"]

# How often a record may be read so that shards are written side by side: writing costs some ten times of what reading does.
_MOST_READS = 4.0
_PIECES_OF_A_SHARD = 4
_LEAST_PIECE_ROWS, _MOST_PIECE_ROWS = 1024, 65536


def write_parts(
    source: Source,
    assignment: Assignment,
    directories: Sequence[str],
    *,
    format: str,
    compression: str | None,
    num_shards: int,
) -> list[list[FileEntry]]:
    """Writes the shards of every part and returns their entries, for each part in order.

    Args:
        source: the records.
        assignment: which part each belongs to.
        directories: of the parts.
        format: of the shards.
        compression: as the format takes.
        num_shards: files of each part; their record counts differ by one at most.

    Raises:
        DataError: damaged input, or a shard that does not hold what was written to it.
    """
    threads = processors()
    plan = _reachable(source, assignment, directories, num_shards, threads)
    stored = format_module(format).stored_schema(source.schema)
    with Progress("ingest", source.num_records, "records") as progress:
        if plan is None:
            return _write_in_one_go(source, assignment, directories, format, compression, num_shards, progress)
        lock, writers = threading.Lock(), _Writers()

        def write(shard: _Shard) -> FileEntry:
            name = shard_name(shard.index, num_shards, format, compression)
            path = _paths.join(directories[shard.part], name)

            def batches() -> Iterator[pa.RecordBatch]:
                for piece in plan.read(shard):
                    writers.go_on()
                    yield piece.stored(source.schema, stored)
                    with lock:
                        progress.advance(piece.rows.num_rows)

            with writers.at_work():
                write_batches(batches(), stored, path, format, compression)
                return FileEntry.of_written(path, shard.stop - shard.start)

        shards = [shard for part in range(len(directories)) for shard in plan.shards(part)]
        with ThreadPoolExecutor(threads, "fullpass-shards") as pool:
            try:
                futures = [pool.submit(write, shard) for shard in shards]
                entries = [future.result() for future in futures]
            except BaseException:
                writers.stop()
                pool.shutdown(cancel_futures=True)
                raise
    return [entries[num_shards * part : num_shards * (part + 1)] for part in range(len(directories))]


def _reachable(
    source: Source, assignment: Assignment, directories: Sequence[str], num_shards: int, threads: int
) -> _Plan | None:
    """How each shard's records are read by themselves, if need be after all were read once; None where they cannot be."""
    if source.parts:
        plan = _Plan(source, assignment, num_shards)
        if plan.reads() <= _MOST_READS:
            return plan
    shards = num_shards * len(directories)
    if threads == 1 or shards == 1 or not source.num_records:
        return None  # nothing to be had from it
    # Pieces of a part of a shard: each shard reads at most one piece too much at either end.
    piece_rows = max(min(source.num_records // (shards * _PIECES_OF_A_SHARD), _MOST_PIECE_ROWS), _LEAST_PIECE_ROWS)
    again = read_once(source, spool_directory(directories[0]), piece_rows, threads)
    return None if again is None else _Plan(again, assignment, num_shards)


class _Stopped(Exception):
    """Ends a shard that nobody wants any more: another one failed, or the user gave up. Threads cannot be cancelled."""


class _Writers:
    """The threads that write. A pool that a signal interrupts while it starts a thread does not wait for that one, which would
    write into a directory that is being deleted: here all are waited for.
    """

    def __init__(self) -> None:
        self._stopped, self._count, self._change = False, 0, threading.Condition()

    def go_on(self) -> None:
        """Raises _Stopped where nobody wants more."""
        if self._stopped:
            raise _Stopped

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Counts the thread that it is entered by as one that writes."""
        with self._change:
            self.go_on()
            self._count += 1
        try:
            yield
        finally:
            with self._change:
                self._count -= 1
                self._change.notify_all()

    def stop(self) -> None:
        """Lets none begin, and returns when none is at work."""
        with self._change:
            self._stopped = True
            self._change.wait_for(lambda: not self._count)


def _write_in_one_go(
    source: Source,
    assignment: Assignment,
    directories: Sequence[str],
    format: str,
    compression: str | None,
    num_shards: int,
    progress: Progress,
) -> list[list[FileEntry]]:
    """Writes from one pass in order, where records cannot be reached but by reading those before them."""
    with contextlib.ExitStack() as open_sets:
        sets = [
            open_sets.enter_context(
                ShardSet(
                    directory, source.schema, format=format, compression=compression, num_shards=num_shards,
                    num_records=count,
                )
            )
            for directory, count in zip(directories, assignment.counts)
        ]  # fmt: skip
        first = 0
        for batch in source.batches():
            for part, shards in enumerate(sets):
                rows = _rows_of(batch, assignment, part, first)
                if rows.num_rows:
                    shards.push(rows)
            first += batch.num_rows
            progress.advance(batch.num_rows)
        return [shards.finish() for shards in sets]


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Rows for one shard, and where they come from.

    Attributes:
        path: the file.
        rows: a run of one part's rows of a batch.
        record: of the file, of the batch's first row.
        chosen: the batch's rows that are of the part, or None where all are.
        begin: of those, the first of the run.
    """

    path: str
    rows: pa.RecordBatch
    record: int
    chosen: np.ndarray | None
    begin: int

    def stored(self, schema: pa.Schema, stored: pa.Schema) -> pa.RecordBatch:
        """Returns the rows in the types that are stored.

        Raises:
            DataError: a value does not fit; here its file and record are still known.
        """
        try:
            fitted = conform(self.rows, schema, self.path)
            return fitted if fitted.schema.equals(stored) else conform(fitted, stored, self.path)
        except DataError as error:
            if error.record is not None:
                row = self.begin + error.record
                error.record = self.record + (row if self.chosen is None else int(self.chosen[row]))
            raise


def _rows_of(batch: pa.RecordBatch, assignment: Assignment, part: int, first_record: int) -> pa.RecordBatch:
    chosen = _chosen(batch, assignment, part, first_record)
    return batch if chosen is None else batch.take(pa.array(chosen))


def _chosen(batch: pa.RecordBatch, assignment: Assignment, part: int, first_record: int) -> np.ndarray | None:
    """The batch's rows that are of a part, or None where all are."""
    if assignment.part is None:
        return None
    rows = np.flatnonzero(assignment.part[first_record : first_record + batch.num_rows] == part)
    return None if len(rows) == batch.num_rows else rows


@dataclasses.dataclass(frozen=True)
class _Shard:
    """Records [start, stop) of a part, counted within it."""

    part: int
    index: int
    start: int
    stop: int


class _Plan:
    """Which parts of the source each shard needs."""

    def __init__(self, source: Source, assignment: Assignment, num_shards: int) -> None:
        self._source, self._assignment, self._num_shards = source, assignment, num_shards
        records = [each.records for each in source.parts]
        self._firsts = np.concatenate([[0], np.cumsum(records, dtype=np.int64)])
        self._first_of_file: dict[str, int] = {}
        for each, first in zip(source.parts, self._firsts):
            self._first_of_file.setdefault(each.path, int(first))
        counts = np.zeros((len(records), len(assignment.names)), np.int64)
        for index, (first, stop) in enumerate(zip(self._firsts, self._firsts[1:])):
            if assignment.part is None:
                counts[index, 0] = stop - first
            else:
                counts[index] = np.bincount(assignment.part[first:stop], minlength=len(assignment.names))
        # [source parts + 1, parts]: how many records of each part are before a source's part.
        self._before = np.concatenate([np.zeros((1, counts.shape[1]), np.int64), np.cumsum(counts, axis=0)])

    def shards(self, part: int) -> list[_Shard]:
        """Returns the shards of a part: their record counts differ by one at most."""
        total = self._assignment.counts[part]
        bounds = [total * index // self._num_shards for index in range(self._num_shards + 1)]
        return [_Shard(part, index, start, stop) for index, (start, stop) in enumerate(itertools.pairwise(bounds))]

    def reads(self) -> float:
        """Returns how often the mean record is read."""
        total = 0
        for part in range(len(self._assignment.names)):
            for shard in self.shards(part):
                total += sum(self._source.parts[index].records for index in self._needed(shard))
        return total / max(self._source.num_records, 1)

    def _needed(self, shard: _Shard) -> range:
        if shard.start == shard.stop:
            return range(0)
        before = self._before[:, shard.part]
        begin = int(np.searchsorted(before, shard.start, side="right")) - 1
        return range(begin, int(np.searchsorted(before, shard.stop, side="left")))

    def read(self, shard: _Shard) -> Iterator[_Piece]:
        """Yields the records of a shard.

        Raises:
            DataError: a part of the source has another number of records than it had.
        """
        for index in self._needed(shard):
            source, position = self._source.parts[index], int(self._before[index, shard.part])
            first = int(self._firsts[index])
            for batch in source.read():
                chosen = _chosen(batch, self._assignment, shard.part, first)
                rows = batch if chosen is None else batch.take(pa.array(chosen))
                record = first - self._first_of_file[source.path]
                first += batch.num_rows
                begin, stop = max(shard.start - position, 0), min(shard.stop - position, rows.num_rows)
                position += rows.num_rows
                if begin < stop:
                    yield _Piece(source.path, rows.slice(begin, stop - begin), record, chosen, begin)
            if first != self._firsts[index + 1]:
                raise DataError(
                    f"gave {first - int(self._firsts[index])} records in this pass and {source.records} before; it changed in "
                    "between",
                    path=source.path,
                )
