"""Reading a plain record file with several threads, exactly: each thread takes a span of bytes, and the spans must meet.

Where the first record of a span lies is only found by looking for a header, and data can look like one. So a span counts
only if the one before it ended at the very byte where this one began: then both walked the one chain of records that a
single reader walks. Where they do not meet, and where a span holds damage, a single reader takes over from the last byte
that is certain. Faults, their places and the skipping of records are therefore those of one thread.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pyarrow as pa

from engine.core.errors import DataError

__all__ = ["SPAN_BYTES", "Reach", "gathered", "read_spans", "span_size"]

SPAN_BYTES = 4 << 20  # long against the search for its first record
_LONGEST = 6  # times as long: a span for each thread and one more wait in memory
_ROOM = 0.96  # of a batch: records are not of one size, and a span of a batch and a bit more is two batches


def span_size(bytes_a_record: float, batch_rows: int, least_bytes: int) -> int:
    """Returns bytes of a span: nearly a whole number of batches, so that few have to be put together by copying.

    As short as that allows: what waits for its turn should still be in the processor's cache when its turn comes.

    Args:
        bytes_a_record: mean, framing included; 0 where it is not known.
        batch_rows: most rows of a batch.
        least_bytes: shortest span.
    """
    batch_bytes = bytes_a_record * batch_rows
    if not least_bytes / _LONGEST < batch_bytes < least_bytes * _LONGEST:
        return least_bytes
    return int(max(-(-least_bytes // batch_bytes), 1) * batch_bytes * _ROOM)


@dataclasses.dataclass
class Reach:
    """The bytes that a read of a part of a file covered: its first record's header, and the byte after its last record.

    `begin` is None where no record begins in the part.
    """

    begin: int | None = None
    end: int | None = None


@dataclasses.dataclass
class _Span:
    reach: Reach
    batches: list[pa.RecordBatch]
    fault: DataError | None = None


ReadSpan = Callable[[int, int, Reach], Iterator[pa.RecordBatch]]
ReadRest = Callable[[int, int], Iterator[pa.RecordBatch]]


def read_spans(
    start: int, stop: int, threads: int, read_span: ReadSpan, read_rest: ReadRest, span_bytes: int
) -> Generator[pa.RecordBatch, None, None]:
    """Yields the batches of the records that begin in [start, stop), in order.

    Args:
        start: byte of the first record's header.
        stop: no record that begins here or later is wanted.
        threads: spans read at a time.
        read_span: (start, stop, reach) -> batches; looks for its first record unless it begins at `start`, raises at any
            damage, and fills in the reach. Called in threads.
        read_rest: (start, records before) -> batches; what one thread reads from a certain byte on. It meets all damage.
        span_bytes: bytes of a span.
    """
    starts = iter(range(start, stop, span_bytes))
    with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="fullpass-read") as pool:
        ahead: collections.deque[concurrent.futures.Future[_Span]] = collections.deque()

        def submit() -> None:
            begin = next(starts, None)
            if begin is not None:
                ahead.append(pool.submit(_read, read_span, begin, min(begin + span_bytes, stop)))

        for _ in range(threads + 2):
            submit()
        certain, records, limit = start, 0, start
        try:
            while ahead:
                span = ahead.popleft().result()
                limit = min(limit + span_bytes, stop)
                passed_over = span.reach.begin is None and certain >= limit  # by a record longer than a span
                if span.fault is not None or (span.reach.begin != certain and not passed_over):
                    _drop(ahead)
                    yield from read_rest(certain, records)
                    return
                submit()
                yield from span.batches
                records += sum(batch.num_rows for batch in span.batches)
                certain = certain if span.reach.end is None else span.reach.end
        finally:
            _drop(ahead)


def _drop(ahead: collections.deque[concurrent.futures.Future[_Span]]) -> None:
    while ahead:
        ahead.popleft().cancel()


def _read(read_span: ReadSpan, start: int, stop: int) -> _Span:
    span = _Span(Reach(), [])
    try:
        span.batches.extend(read_span(start, stop, span.reach))
    except DataError as fault:
        span.fault = fault
    return span


def gathered(batches: Iterator[pa.RecordBatch], batch_rows: int, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yields the same rows, small neighbouring batches put together as far as `batch_rows` allows; none is cut.

    Batches of equal size would have to be copied nearly all: they begin anew with each span. That copy, made by one thread for
    all, took a third of what a second thread gains.

    Args:
        batches: of at most `batch_rows` rows each.
        batch_rows: most rows of a batch.
        max_bytes: most that is put together: Arrow's offsets are 32 bits.
    """
    pending: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        full = rows + batch.num_rows > batch_rows
        if pending and (full or sum(each.nbytes for each in (*pending, batch)) > max_bytes):
            yield _joined(pending)
            pending, rows = [], 0
        pending.append(batch)
        rows += batch.num_rows
    if pending:
        yield _joined(pending)


def _joined(batches: list[Any]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    [joined] = pa.Table.from_batches(batches).combine_chunks().to_batches()  # pyarrow 18 has no concat_batches
    return joined
