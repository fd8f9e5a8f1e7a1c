"""Even shards of every part, written by all cores: each thread reads the records of its own shard."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from engine.core.progress import Progress
from engine.dataset.file_entry import FileEntry
from engine.dataset.sharding.parts.assign import Assignment
from engine.dataset.sharding.read_once import read_once
from engine.dataset.sharding.shard_plan import Shard, ShardPlan, rows_of
from engine.dataset.sharding.source import Source
from engine.dataset.sharding.spool import spool_directory
from engine.dataset.shards import ShardSet
from engine.dataset.write import shard_name, write_batches
from engine.formats.registry import format_module
from engine.machine.processes import processors
from engine.storage import paths as _paths

__all__ = ["write_parts"]
# How often the mean record may be read so that shards are written side by side. To keep it costs less than half a reading more,
# and where there is no room for that, writing costs more than what is read again.
_MOST_READS, _MOST_READS_WITHOUT_ROOM = 1.5, 4.0
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

        def write(shard: Shard) -> FileEntry:
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
) -> ShardPlan | None:
    """How each shard's records are read by themselves, if need be after all were read once; None where they cannot be."""
    plan = ShardPlan(source, assignment, num_shards) if source.parts else None
    reads = plan.reads() if plan is not None else float("inf")
    if reads <= _MOST_READS:
        return plan
    shards = num_shards * len(directories)
    if threads == 1 or shards == 1 or not source.num_records:
        return None  # nothing to be had from it
    # Pieces of a part of a shard: each shard reads at most one piece too much at either end.
    piece_rows = max(min(source.num_records // (shards * _PIECES_OF_A_SHARD), _MOST_PIECE_ROWS), _LEAST_PIECE_ROWS)
    again = read_once(source, spool_directory(directories[0]), piece_rows, threads)
    if again is None:
        return plan if reads <= _MOST_READS_WITHOUT_ROOM else None
    return ShardPlan(again, assignment, num_shards)


class _Stopped(Exception):
    """Ends a shard that nobody wants any more: another one failed, or the user gave up. Threads cannot be cancelled."""


class _Writers:
    """The threads that write. A pool that a signal interrupts while it starts a thread does not wait for that one, which would
    write into a directory that is being deleted: here all are waited for.
    """

    def __init__(self) -> None:
        self._stopped, self._count, self._change = False, 0, threading.Condition()

    def go_on(self) -> None:
        """Returns where writing goes on.

        Raises:
            _Stopped: another thread failed, so nobody wants more.
        """
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
                rows = rows_of(batch, assignment, part, first)
                if rows.num_rows:
                    shards.push(rows)
            first += batch.num_rows
            progress.advance(batch.num_rows)
        return [shards.finish() for shards in sets]
