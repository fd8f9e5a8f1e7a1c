"""Records that can only be reached through many others: read once, kept in small pieces, and then there for every shard's thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from engine.core.errors import DataError
from engine.core.progress import Progress
from engine.dataset.sharding.source import Source, SourcePart
from engine.formats.spool import Spool
from engine.machine.ahead import map_in_order

__all__ = ["read_once"]


def read_once(source: Source, directory: str | None, piece_rows: int, threads: int) -> Source | None:
    """Returns the same records in pieces that each can be read by itself, or None where there is no room for them.

    A row group of a million rows, or a packed file, is read from its beginning by whoever wants a record of it: were each of the
    shards in it read so, the file would be decoded once for every shard.

    Args:
        source: the records.
        directory: where those are kept that are too many for memory; None takes that of temporary files.
        piece_rows: records of a piece, at most.
        threads: that read, each a part of the source; where there are fewer parts, several read one and keep what was read of it.

    Raises:
        DataError: damaged input, or another number of records than there were.
    """
    spool, full, stopping, lock = Spool(directory), threading.Event(), threading.Event(), threading.Lock()
    whole = SourcePart(path=source.paths[0] if source.paths else "", records=source.num_records, read=source.batches)
    parts = source.parts or (whole,)
    threads_of_a_part = max(1, threads // len(parts))
    with Progress("read", source.num_records, "records") as progress:

        def add(piece: pa.RecordBatch) -> tuple[int | None, int]:
            return None if full.is_set() or stopping.is_set() else spool.add(piece), piece.num_rows

        def keep(part: SourcePart) -> list[SourcePart]:
            kept: list[SourcePart] = []
            pieces = (
                batch.slice(start, piece_rows)
                for batch in part.batches(threads_of_a_part)
                for start in range(0, batch.num_rows, piece_rows)
            )
            # To keep a piece takes as long as to read it: other threads do that where there are more of them than parts.
            added = map(add, pieces) if threads_of_a_part == 1 else map_in_order(add, pieces, threads_of_a_part)
            for number, records in added:
                if number is None:
                    full.set()
                    return kept
                kept.append(_part(spool, number, part.path, records))
                with lock:
                    progress.advance(records)
            found = sum(each.records for each in kept)
            if found != part.records:  # shards are cut by the former count: what is beyond would be in none
                raise DataError(
                    f"gave {found} records in this pass and {part.records} before; it changed in between",
                    path=part.path,
                )
            return kept

        futures: list[Future[list[SourcePart]]] = []
        with ThreadPoolExecutor(threads, "fullpass-read") as pool:
            try:
                for part in parts:
                    futures.append(pool.submit(keep, part))
                kept = [future.result() for future in futures]
            except BaseException:
                stopping.set()
                for future in futures:
                    future.cancel()
                raise
    if full.is_set():
        return None
    pieces = [piece for part in kept for piece in part]

    def read(batch_rows: int) -> Iterator[pa.RecordBatch]:
        for piece in pieces:
            yield from piece.read()

    records = sum(piece.records for piece in pieces)
    again = Source(source.schema, records, source.paths, read, source.notes, pieces, source.aliases)
    again.given_parts = source.given_parts
    return again


def _part(spool: Spool, number: int, path: str, records: int) -> SourcePart:
    def read() -> Iterator[pa.RecordBatch]:
        yield spool.read(number)

    return SourcePart(path=path, records=records, read=read)
