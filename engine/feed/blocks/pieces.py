"""Blocks that are larger than a window, in pieces: a row group of a gigabyte would be held whole for each record of it.

Others write row groups of a million rows, or pack a whole file. Nobody reaches a row of those but by those before it, so the
first that needs a piece reads the block once, a piece at a time, into a file without a name, where each piece is found again.
"""

from __future__ import annotations

import copy
import itertools
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.feed.blocks.dataset_reader import DatasetReader
from engine.feed.blocks.plain_reader import PlainReader
from engine.formats.spool import Spool

__all__ = ["MOST_BLOCK_BYTES", "BlockPieces"]

MOST_BLOCK_BYTES = 256 << 20  # of a block that is read whole; ours have 64 MiB
PIECE_BYTES = 64 << 20
_LOG = logging.getLogger("fullpass.engine")


class BlockPieces:
    """Reads blocks as `DatasetReader` does, the large ones in pieces; safe to call from several threads.

    Args:
        reader: of the data set.
        block_records: int64 [num_blocks], records of each of its blocks.
        record_bytes: what a record takes in memory, about.

    Attributes:
        schema: columns of the records.
        piece_rows: records of a piece of a large block; None where no block is large.
        block_records: int64 [num_pieces], records of each block or piece, in order.
    """

    def __init__(self, reader: DatasetReader, block_records: np.ndarray, record_bytes: float) -> None:
        self.schema: pa.Schema = reader.schema
        self._reader = reader
        large = block_records * record_bytes > MOST_BLOCK_BYTES
        self.piece_rows = max(1, int(PIECE_BYTES / record_bytes)) if large.any() else None
        counts = np.where(large, -(-block_records // (self.piece_rows or 1)), 1)
        self._block = np.repeat(np.arange(len(block_records)), counts)
        self._number = np.arange(len(self._block)) - np.repeat(np.cumsum(counts) - counts, counts)
        first = self._number * (self.piece_rows or 0)
        self.block_records = np.where(
            large[self._block],
            np.minimum(block_records[self._block] - first, self.piece_rows or 0),
            block_records[self._block],
        )
        self._large = [int(block) for block in np.flatnonzero(large)]
        self._kept: dict[int, _Kept] = {}  # by process: after a fork two would write at one place of one file

    def read_block(self, block: int, columns: Sequence[str]) -> pa.RecordBatch:
        """Returns all records of a block or piece.

        Raises:
            DataError: a damaged record, or another number of records than the manifest says.
        """
        whole, number = int(self._block[block]), int(self._number[block])
        here = self._here()
        kept = here.blocks.get(whole)
        if kept is None:
            return self._reader.read_block(whole, columns)
        with kept.lock:
            if kept.numbers is None and kept.fault is None:
                try:
                    kept.numbers = self._keep(here, whole, self._pieces(whole, columns))
                except DataError as error:
                    kept.fault = copy.copy(error)  # without the frames that it went through, which hold what was read
        if kept.fault is not None:
            raise copy.copy(kept.fault)
        if kept.numbers is not None:
            return here.spool.read(kept.numbers[number])
        return next(itertools.islice(self._pieces(whole, columns), number, None))

    def _here(self) -> _Kept:
        process = os.getpid()
        return self._kept.get(process) or self._kept.setdefault(process, _Kept(self._large))

    def plain_reader(self, columns: Sequence[str]) -> PlainReader | None:
        """Returns what packs blocks of these columns at once; None where they are no plain numbers, or some blocks come in pieces."""
        return self._reader.plain_reader(columns) if self.piece_rows is None else None

    def _keep(self, here: _Kept, block: int, batches: Iterator[pa.RecordBatch]) -> list[int] | None:
        """Keeps what is read of a block; returns the numbers, or None where there is no room, which is said and not tried again."""
        if here.full:
            return None
        numbers = here.add_all(batches)
        if numbers is None:
            here.full = True
            path, _ = self._reader.place(block)
            _LOG.warning(
                "%s has more records in one row group or packed file than are held in memory, and %s has no room for them: it is "
                "read from its beginning for each part of them; name a larger disk by TMPDIR, or write the data anew with "
                "`fullpass ingest`",
                path,
                tempfile.gettempdir(),
            )
        return numbers

    def _pieces(self, block: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The block's records in pieces of `piece_rows`, without ever holding much more than one."""
        assert self.piece_rows is not None
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in self._reader.batches_of(block, self.piece_rows, columns):
            start = 0
            while start < batch.num_rows:
                taken = batch.slice(start, self.piece_rows - rows)
                waiting.append(taken)
                start, rows = start + taken.num_rows, rows + taken.num_rows
                if rows == self.piece_rows:
                    yield self._reader.joined(waiting, columns)
                    waiting, rows = [], 0
        if rows:
            yield self._reader.joined(waiting, columns)

    def place(self, block: int) -> tuple[str, int]:
        """Returns (file, index in it of the first record of a block or piece)."""
        path, first = self._reader.place(int(self._block[block]))
        return path, first + int(self._number[block]) * (self.piece_rows or 0)

    def read_block_skipping(self, block: int, columns: Sequence[str]) -> tuple[pa.RecordBatch, np.ndarray]:
        """Returns the readable records of a block or piece and their rows in it, int64 [n], ascending."""
        whole, number = int(self._block[block]), int(self._number[block])
        here = self._here()
        kept = here.blocks.get(whole)
        if kept is None:
            return self._reader.read_block_skipping(whole, columns)
        with here.one:
            if kept.readable is None:
                pieces = list(self._readable(whole, *self._reader.read_block_skipping(whole, columns)))
                kept.readable = self._keep(here, whole, itertools.chain.from_iterable(pieces))
                if kept.readable is None:
                    return pieces[number][0], pieces[number][1].column(0).to_numpy()
        at = 2 * number
        return here.spool.read(kept.readable[at]), here.spool.read(kept.readable[at + 1]).column(0).to_numpy()

    def _readable(
        self, block: int, batch: pa.RecordBatch, rows: np.ndarray
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """What is readable of each piece of a block: the records, and their rows in it as a batch."""
        assert self.piece_rows is not None
        for number in range(int(np.count_nonzero(self._block == block))):
            first = number * self.piece_rows
            low, high = np.searchsorted(rows, [first, first + self.piece_rows]).tolist()
            yield batch.slice(low, high - low), pa.record_batch({"row": rows[low:high] - first})


class _KeptBlock:
    """Where the pieces of a large block are kept, once they are; or what is wrong with it, and where is kept what can be read."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.numbers: list[int] | None = None
        self.fault: DataError | None = None
        self.readable: list[int] | None = None


class _Kept:
    """What one process keeps of large blocks.

    Args:
        large: their numbers.

    Attributes:
        one: held by who reads a damaged block, which is held whole.
        full: there is no room for more.
    """

    def __init__(self, large: Sequence[int]) -> None:
        self.blocks = {block: _KeptBlock() for block in large}
        self.spool = Spool(memory_bytes=0)
        self.one = threading.Lock()
        self.full = False

    def add_all(self, batches: Iterator[pa.RecordBatch]) -> list[int] | None:
        """Keeps all batches; returns their numbers, or None where there is no room for all. Then, and where one fails, none is kept."""
        numbers: list[int] = []
        try:
            for batch in batches:
                number = self.spool.add(batch)
                if number is None:
                    break
                numbers.append(number)
            else:
                return numbers
        except BaseException:
            self.spool.forget(numbers)
            raise
        self.spool.forget(numbers)
        return None
