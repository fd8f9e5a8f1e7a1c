"""TFRecord files of tf.Example and tf.SequenceExample, which the native codec reads and writes.

Plain files split at any byte by finding the next whole record.

A split that begins inside a file resynchronises on a header whose checksum holds and whose successor's does too, and
checks the header that follows its own last record, so that no damage between two splits goes unseen. Data that itself
holds whole TFRecord files inside a feature can look like records; with a manifest splits are cut at its blocks, exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from engine import _native
from engine.formats.block import Block
from engine.formats.damage import DamageLog
from engine.formats.options import OnDamage, ReadOptions
from engine.formats.split import Split
from engine.formats.tfrecord import codec
from engine.formats.tfrecord.batches import PAST_LIMIT_BYTES, decoded_batches
from engine.formats.tfrecord.byte_spans import SPAN_BYTES, Reach, gathered, read_spans, span_size
from engine.formats.tfrecord.framing import MAX_BATCH_BYTES, framing_fault, scan_window
from engine.formats.tfrecord.inference import infer_schema
from engine.formats.tfrecord.inferred_schema import saw_a_part
from engine.formats.tfrecord.plain_blocks import PlainBlocks
from engine.formats.tfrecord.stream import Window, compression_of, file_compression
from engine.formats.tfrecord.writer import COMPRESSIONS, Writer
from engine.schema.conform import select_fields
from engine.storage import paths as _paths
from engine.storage import uris as _uris

__all__ = [
    "COMPRESSIONS",
    "EXTENSIONS",
    "PlainBlocks",
    "Writer",
    "file_compression",
    "infer_schema",
    "matches",
    "read",
    "scan_file",
    "split_file",
    "stored_schema",
]
EXTENSIONS = (".tfrecord", ".tfrecords", ".tfrec")
BLOCK_BYTES, BLOCK_RECORDS = 4 << 20, 8192  # the smaller a block, the better the feed shuffles; this still reads fast


def matches(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is TFRecord, plain or compressed."""
    return compression_of(head) is not None


def scan_file(path: str, compression: str | None = None) -> tuple[int, tuple[Block, ...]]:
    """Returns (records, blocks) by walking the headers. A compressed file is one block, since nothing can jump into it.

    Raises:
        DataError: a damaged header, or a file that ends within a record.
    """
    blocks: list[Block] = []
    total, size_bytes, digest = 0, 0, 0
    with Window(path, compression) as window:
        while True:
            window.fill(BLOCK_BYTES)
            start = window.offset
            records, status, consumed, needed, _ = scan_window(window, 1 << 62, BLOCK_RECORDS, BLOCK_BYTES)
            if len(records):
                seed = digest if compression else 0
                digest = _native.checksum_hash(window.buffer, records, seed, 0, len(records))
                blocks.append(Block(offset=start, length=consumed, records=len(records), hash=f"{digest:016x}"))
                total += len(records)
                window.use(consumed)
                continue
            if status == _native.NEED_MORE and not window.at_end:
                window.fill(max(needed, 2 * window.available, BLOCK_BYTES))
                continue
            if window.available:
                raise framing_fault(window, status, needed, total)
            break
        size_bytes = window.compressed_offset if compression else window.offset
    if compression and blocks:
        blocks = [Block(offset=0, length=size_bytes, records=total, hash=f"{digest:016x}")]
    return total, tuple(blocks)


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of what a file holds after rows of `schema` were written to it."""
    return codec.record_schema(schema)


def split_file(
    path: str, compression: str | None, size_bytes: int, blocks: Sequence[Block] | None, target_bytes: int
) -> list[Split]:
    """Returns splits of about `target_bytes`: at the manifest's blocks where there are some, else at any byte."""
    if compression or size_bytes <= target_bytes:
        records = sum(block.records for block in blocks) if blocks is not None else None
        whole = Split(path=path, format="tfrecord", start=0, stop=size_bytes, records=records, compression=compression)
        return [whole] if size_bytes else []
    if blocks is None:
        count = -(-size_bytes // target_bytes)
        bounds = [size_bytes * i // count for i in range(count + 1)]
        return [Split(path=path, format="tfrecord", start=a, stop=b) for a, b in itertools.pairwise(bounds)]
    splits, start, records, first = [], 0, 0, 0
    for block in blocks:
        end = block.offset + block.length
        records += block.records
        if end - start >= target_bytes or end == size_bytes:
            splits.append(
                Split(path=path, format="tfrecord", start=start, stop=end, records=records, first_record=first)
            )
            start, records, first = end, 0, first + records
    if start < size_bytes:  # bytes past the last block: reading them finds what they are
        splits.append(Split(path=path, format="tfrecord", start=start, stop=size_bytes, records=records))
    return splits


def read(split: Split, schema: pa.Schema, options: ReadOptions, damage: DamageLog) -> Iterator[pa.RecordBatch]:
    """Yields the split's records, in order, with exactly the schema's columns."""
    decoded = codec.record_schema(schema)
    wanted = select_fields(decoded, options.columns)
    result = codec.result_schema(select_fields(schema, options.columns), options.dictionary)
    native = codec.native_schema(decoded, wanted.names, options.dictionary)
    target = codec.decoded_schema(decoded, wanted.names, options.dictionary)
    strict = saw_a_part(schema)

    def imported(array: Any) -> pa.RecordBatch:
        return codec.imported(array, target, result)

    def one_thread(
        part: Split, options: ReadOptions, damage: DamageLog, exact: bool, reach: Reach | None = None
    ) -> Iterator[pa.RecordBatch]:
        for arrays, _ in decoded_batches(part, native, strict, options, damage, exact, reach):
            yield from (batch for batch in map(imported, arrays) if batch.num_rows)

    exact = split.start == 0 or split.records is not None
    short = split.stop - split.start < 2 * SPAN_BYTES
    if options.threads == 1 or split.compression or short or not exact or not len(result):
        yield from one_thread(split, options, damage, exact)
        return
    alone = dataclasses.replace(options, threads=1, on_damage=OnDamage.RAISE)
    # Each knows from its last span how much room a batch takes, and its bytes lie in its core's cache.
    readers = threading.local()

    def read_span(start: int, stop: int, reach: Reach) -> Iterator[pa.RecordBatch]:
        first = start == split.start
        if descriptor is not None:
            if not hasattr(readers, "own"):
                readers.own = _native.SpanReader(native, strict)
            whole, begin, end, arrays = readers.own.read(descriptor, start, stop, first, options.batch_rows)
            if whole:
                reach.begin, reach.end = (None, None) if begin < 0 else (begin, end)
                yield from map(imported, arrays)
                return
        part = dataclasses.replace(split, start=start, stop=stop, records=None, first_record=None)
        yield from one_thread(part, alone, DamageLog(alone), first, reach)  # what is remote, or says what the damage is

    def read_rest(start: int, records: int) -> Iterator[pa.RecordBatch]:
        first = 0 if split.start == 0 else split.first_record
        part = dataclasses.replace(split, start=start, first_record=None if first is None else first + records)
        return one_thread(part, dataclasses.replace(options, threads=1), damage, True)

    size = span_size(_bytes_a_record(split), options.batch_rows, SPAN_BYTES)
    with _paths.open_input(split.path) as file:
        descriptor = None if _uris.is_remote(split.path) else file.fileno()
        parts = read_spans(split.start, split.stop, options.threads, read_span, read_rest, size)
        with contextlib.closing(parts):  # its threads end before the file is closed
            yield from gathered(parts, options.batch_rows, MAX_BATCH_BYTES)


def _bytes_a_record(split: Split) -> float:
    """What a record takes: by the manifest, else as the first ones of the split do; 0 where that is not known."""
    if split.records:
        return (split.stop - split.start) / split.records
    with Window(split.path, None, split.start) as window:
        window.fill(PAST_LIMIT_BYTES)
        found, _, consumed, _, _ = scan_window(window, split.stop, 1 << 20)
    return consumed / len(found) if len(found) else 0.0
