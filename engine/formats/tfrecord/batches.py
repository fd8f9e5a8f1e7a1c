"""Batches of one run of TFRecord bytes by the native codec, each damage reported, from the first whole record on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine import _native
from engine.formats.damage import DamageLog
from engine.formats.options import OnDamage, ReadOptions
from engine.formats.split import Split
from engine.formats.tfrecord import codec
from engine.formats.tfrecord.byte_spans import Reach
from engine.formats.tfrecord.framing import MAX_BATCH_BYTES, framing_fault, scan_window
from engine.formats.tfrecord.stream import Window, header_holds

__all__ = ["PAST_LIMIT_BYTES", "decoded_batches"]

_FIRST_FILL_BYTES = 4 << 20
_CHUNK_BYTES = 768 << 10  # of one thread: stays in its processor's cache from reading to decoding
_MOST_AT_ONCE_BYTES = 64 << 20
PAST_LIMIT_BYTES = 1 << 16  # the last record of a split ends past it


def decoded_batches(
    split: Split,
    native: Any,
    strict: bool,
    options: ReadOptions,
    damage: DamageLog,
    exact: bool,
    reach: Reach | None = None,
) -> Iterator[tuple[list[Any], int]]:
    """Yields (arrays, records that they took); with several threads a batch for each at a time.

    `exact`: a record begins at the split's first byte; else the first one is looked for. `reach` takes what was covered.
    """
    skip = options.on_damage is OnDamage.SKIP
    stream = _native.Stream(native, True, strict, skip) if options.threads == 1 else None
    pending = pending_bytes = 0  # in the stream
    most = options.batch_rows * options.threads
    record = 0 if split.start == 0 else split.first_record  # index within the file, where it is known
    bytes_a_record = 0.0
    with Window(split.path, split.compression, split.start) as window:
        limit = split.stop if split.compression is None else 1 << 62
        if not exact and not _synchronise(window, limit):
            return
        if reach is not None:
            reach.begin = window.offset
        whole = True
        while window.offset < limit:
            wanted = most - pending
            target = int(wanted * bytes_a_record * 1.02) + 4096 if bytes_a_record else _FIRST_FILL_BYTES
            ahead = min(MAX_BATCH_BYTES, limit - window.offset + PAST_LIMIT_BYTES)
            window.fill(min(target, ahead, _CHUNK_BYTES if stream else max(2 * window.available, _MOST_AT_ONCE_BYTES)))
            found, status, consumed, needed, _ = scan_window(window, limit, wanted)
            enough = len(found) == wanted or window.offset + consumed >= limit or (stream and len(found))
            if not enough and status == _native.NEED_MORE and not window.at_end and consumed + needed < MAX_BATCH_BYTES:
                average = consumed / len(found) if len(found) else 0
                bytes_a_record = max(average, bytes_a_record)
                # Doubling at most: how much a compressed stream still gives, nobody knows.
                target = min(int(average * wanted * 1.02), max(2 * window.available, _MOST_AT_ONCE_BYTES), ahead)
                window.fill(max(target, window.available + 1, int(consumed + needed)))
                continue
            if len(found):
                bytes_a_record = consumed / len(found)
                if stream and pending and pending_bytes + consumed > MAX_BATCH_BYTES:
                    yield [stream.finish(False)], pending
                    pending = pending_bytes = 0
                if stream:
                    faults = stream.decode(window.buffer, found)
                    arrays: list[Any] = []
                else:
                    arrays, faults = _native.decode(
                        native, window.buffer, found, options.batch_rows, options.threads, True, strict, skip
                    )
                for code, index, message in faults:
                    place = window.offset + found.place(index)[0] - window.begin - 12
                    at = None if record is None else record + index
                    fault = codec.fault(code, message, path=split.path, record=at, offset_bytes=place)
                    if not skip and arrays:  # what is whole before it is still of use to the caller
                        yield arrays[: index // options.batch_rows], len(found)
                    damage.report(fault)
                record = None if record is None else record + len(found)
                window.use(consumed)
                if stream is None:
                    yield arrays, len(found)
                    continue
                pending, pending_bytes = pending + len(found), pending_bytes + consumed
                if pending == most:
                    yield [stream.finish(True)], pending
                    pending = pending_bytes = 0
                continue
            if not window.available:
                break
            if stream and pending and not skip:  # what is whole before it is still of use to the caller
                yield [stream.finish(False)], pending
                pending = pending_bytes = 0
            damage.report(framing_fault(window, status, needed, record))
            record = None if record is None else record + 1
            window.use(1)
            if not _synchronise(window, limit):
                whole = False
                break
        if stream and pending:
            yield [stream.finish(False)], pending
        if reach is not None:
            reach.end = window.offset
        if whole:
            _check_successor(window, split, exact, damage, record)


def _check_successor(window: Window, split: Split, exact: bool, damage: DamageLog, record: int | None) -> None:
    """The next split begins by looking for a header; were it damaged, nobody would miss its record: so look here."""
    if split.compression or (exact and split.records is not None):
        return
    window.fill(12)
    if window.available and not header_holds(bytes(window.buffer[window.begin : min(window.begin + 12, window.end)])):
        status = _native.BAD_LENGTH if window.available >= 12 else _native.NEED_MORE
        damage.report(framing_fault(window, status, 0, record))


def _synchronise(window: Window, limit: int) -> bool:
    """Moves the window to the next record that begins before `limit`; False where there is none."""
    while True:
        window.fill(max(window.available, 1 << 16))
        stop = min(window.begin + max(limit - window.offset, 0), window.end)
        found, position = _native.find(window.buffer, window.begin, window.end, stop, window.at_end)
        if found == 0:
            window.use(position - window.begin)
            return True
        if found == -2:
            window.use(position - window.begin)
            if window.at_end:
                return False
            window.fill(max(2 * window.available, 1 << 20))
            continue
        reached = stop - window.begin
        if window.at_end or window.offset + reached >= limit:
            return False
        window.use(max(reached - 11, 0))
        window.fill(max(2 * window.available, 1 << 20))
