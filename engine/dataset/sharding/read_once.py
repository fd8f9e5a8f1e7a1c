"""Records that can only be reached through many others: read once, kept in small pieces, and then there for every shard's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from engine.core.errors import DataError
from engine.core.progress import Progress
from engine.dataset.sharding.source import Source, SourcePart
from engine.dataset.sharding.spool import Spool

__all__ = ["read_once"]


def read_once(source: Source, directory: str | None, piece_rows: int, threads: int) -> Source | None:
    """Returns the same records in pieces that each can be read by itself, or None where there is no room for them.

    A row group of a million rows, or a packed file, is read from its beginning by whoever wants a record of it: were each of the
    shards in it read so, the file would be decoded once for every shard.

    Args:
        source: the records.
        directory: where those are kept that are too many for memory; None takes that of temporary files.
        piece_rows: records of a piece, at most.
        threads: that read, each a part of the source.

    Raises:
        DataError: damaged input, or another number of records than there were.
    """
    spool, full, stopping, lock = Spool(directory), threading.Event(), threading.Event(), threading.Lock()
    with Progress("read", source.num_records, "records") as progress:

        def keep(path: str, records: int, batches: Callable[[], Iterator[pa.RecordBatch]]) -> list[SourcePart]:
            kept: list[SourcePart] = []
            for batch in batches():
                for start in range(0, batch.num_rows, piece_rows):
                    piece = batch.slice(start, piece_rows)
                    number = None if full.is_set() or stopping.is_set() else spool.add(piece)
                    if number is None:
                        full.set()
                        return kept
                    kept.append(_part(spool, number, path, piece.num_rows))
                with lock:
                    progress.advance(batch.num_rows)
            found = sum(each.records for each in kept)
            if found != records:  # shards are cut by the former count: what is beyond would be in none
                raise DataError(
                    f"gave {found} records in this pass and {records} before; it changed in between", path=path
                )
            return kept

        whole = SourcePart(
            path=source.paths[0] if source.paths else "", records=source.num_records, read=source.batches
        )
        futures: list[Future[list[SourcePart]]] = []
        with ThreadPoolExecutor(threads, "fullpass-read") as pool:
            try:
                for part in source.parts or [whole]:
                    futures.append(pool.submit(keep, part.path, part.records, part.read))
                kept = [future.result() for future in futures]
            except BaseException:
                stopping.set()
                for future in futures:
                    future.cancel()
                raise
    if full.is_set():
        return None
    parts = [part for parts in kept for part in parts]

    def read(batch_rows: int) -> Iterator[pa.RecordBatch]:
        for part in parts:
            yield from part.read()

    records = sum(part.records for part in parts)
    again = Source(source.schema, records, source.paths, read, source.notes, parts, source.aliases)
    again.given_parts = source.given_parts
    return again


def _part(spool: Spool, number: int, path: str, records: int) -> SourcePart:
    def read() -> Iterator[pa.RecordBatch]:
        yield spool.read(number)

    return SourcePart(path=path, records=records, read=read)
