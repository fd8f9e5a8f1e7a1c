"""How many rows of a Parquet file are read at once, so that a batch is bounded by the bytes that it takes in memory.

A footer says the bytes of pages before they are decoded. Values that a dictionary holds once, or that begin alike, are a few bytes
there and megabytes each in memory; newer writers say what texts take then, too. Where the footer does not, or says that it is much,
rows are read in pieces: few at first, and twice as many as long as those before them were light. A piece lies in one row group, and
each row group begins with few rows again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from engine.formats.parquet.open_file import ParquetFile

__all__ = ["FIRST_BYTES", "MAX_BATCH_BYTES", "batches_by_bytes"]

MAX_BATCH_BYTES = 256 << 20
_FIRST_ROWS = 1024
FIRST_BYTES = 64 << 20  # of the rows that are read first, were each as large as all that the footer says of its column
_OFFSET_BYTES = 4


def batches_by_bytes(
    file: ParquetFile, groups: Sequence[int], names: Sequence[str], batch_rows: int, use_threads: bool
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of row groups in batches of `batch_rows` rows, fewer where those take more than MAX_BATCH_BYTES.

    Args:
        file: as it is opened for reading.
        groups: row groups, in order.
        names: columns that the file has.
        batch_rows: rows of a batch.
        use_threads: whether columns are decoded side by side.
    """
    groups = [group for group in groups if file.footer.group_rows[group]]
    chosen = set(names)
    columns = [index for index, path in enumerate(file.footer.paths) if path.split(".")[0] in chosen]
    rows = np.array([file.footer.group_rows[group] for group in groups], np.int64)
    least = _decoded_bytes(file, groups, columns).sum(axis=1)
    widest = float((least / rows).max(initial=0.0))
    largest = int(file.footer.uncompressed[np.ix_(groups, columns)].max(initial=0))
    at_once = min(batch_rows, int(rows.sum()))
    known = widest * at_once <= MAX_BATCH_BYTES and not (len(groups) > 1 and file.dictionaries_inside & chosen)
    if known and (largest * at_once <= MAX_BATCH_BYTES or not _unsaid(file, groups, columns)):
        for batch in file.iter_batches(batch_rows, groups, names, use_threads=use_threads):
            yield batch
            # Another reader of the opened file may have changed it meanwhile.
            file.reader.set_batch_size(batch_rows)
        return
    most_rows = max(min(batch_rows, int(MAX_BATCH_BYTES / max(widest, 1.0))), 1)
    yield from _joined(_pieces(file, groups, names, most_rows, largest, use_threads), batch_rows)


def _decoded_bytes(file: ParquetFile, groups: Sequence[int], columns: Sequence[int]) -> np.ndarray:
    """Bytes that column chunks take in memory, as far as the footer tells, [groups, columns]."""
    footer, place = file.footer, np.ix_(groups, columns)
    widths = np.array([file.leaf_bytes[index] or _OFFSET_BYTES for index in columns], np.float64)
    values = footer.values[place] * widths + np.maximum(footer.text_bytes[place], 0)
    decoded: np.ndarray = np.maximum(values, footer.uncompressed[place])
    return decoded


def _unsaid(file: ParquetFile, groups: Sequence[int], columns: Sequence[int]) -> bool:
    """Whether there are texts of which the footer does not say how long they are in all."""
    texts = [index for index in columns if not file.leaf_bytes[index]]
    return bool((file.footer.text_bytes[np.ix_(groups, texts)] < 0).any())


def _pieces(
    file: ParquetFile, groups: Sequence[int], names: Sequence[str], most_rows: int, row_bytes: int, use_threads: bool
) -> Iterator[pa.RecordBatch]:
    first = max(min(_FIRST_ROWS, FIRST_BYTES // max(row_bytes, 1), most_rows), 1)
    left = iter([file.footer.group_rows[group] for group in groups])
    rows, of_group, heaviest = first, next(left, 0), 0.0
    for batch in file.iter_batches(min(rows, of_group), groups, names, use_threads=use_threads):
        heaviest = max(heaviest, batch.nbytes / max(batch.num_rows, 1))
        of_group -= batch.num_rows
        if of_group > 0:
            rows = max(min(2 * rows, int(MAX_BATCH_BYTES / max(heaviest, 1.0)), most_rows), 1)
        else:
            rows, of_group = first, next(left, 0)
        yield batch
        file.reader.set_batch_size(max(min(rows, of_group), 1))  # asked anew for each batch


def _joined(pieces: Iterator[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of pieces in batches of `batch_rows`, or of MAX_BATCH_BYTES where that is less."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for piece in pieces:
        while piece.num_rows:
            if held and size + piece.nbytes > MAX_BATCH_BYTES:
                yield _one(held)
                held, rows, size = [], 0, 0
            part = piece.slice(0, batch_rows - rows)
            piece = piece.slice(part.num_rows)
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
            if rows == batch_rows:
                yield _one(held)
                held, rows, size = [], 0, 0
    if held:
        yield _one(held)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
