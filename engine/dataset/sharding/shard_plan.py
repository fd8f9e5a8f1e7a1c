"""Which records of the source each shard holds, and reading just those."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from engine.core.errors import DataError
from engine.dataset.sharding.parts.assign import Assignment
from engine.dataset.sharding.source import Source
from engine.schema.conform import conform

__all__ = ["Piece", "Shard", "ShardPlan", "rows_of"]


@dataclasses.dataclass(frozen=True)
class Piece:
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


def rows_of(batch: pa.RecordBatch, assignment: Assignment, part: int, first_record: int) -> pa.RecordBatch:
    """Returns the rows of a batch that are of a part; `first_record` is the batch's first in the source."""
    chosen = _chosen(batch, assignment, part, first_record)
    return batch if chosen is None else batch.take(pa.array(chosen))


def _chosen(batch: pa.RecordBatch, assignment: Assignment, part: int, first_record: int) -> np.ndarray | None:
    """The batch's rows that are of a part, or None where all are."""
    if assignment.part is None:
        return None
    rows = np.flatnonzero(assignment.part[first_record : first_record + batch.num_rows] == part)
    return None if len(rows) == batch.num_rows else rows


@dataclasses.dataclass(frozen=True)
class Shard:
    """Records [start, stop) of a part, counted within it."""

    part: int
    index: int
    start: int
    stop: int


class ShardPlan:
    """Which parts of the source each shard needs."""

    def __init__(self, source: Source, assignment: Assignment, num_shards: int) -> None:
        self._source, self._assignment, self._num_shards = source, assignment, num_shards
        records = [each.records for each in source.parts]
        self._firsts = np.concatenate([[0], np.cumsum(records, dtype=np.int64)])
        # A large file is several parts of the source, and messages count records within the file.
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

    def shards(self, part: int) -> list[Shard]:
        """Returns the shards of a part: their record counts differ by one at most."""
        total = self._assignment.counts[part]
        bounds = [total * index // self._num_shards for index in range(self._num_shards + 1)]
        return [Shard(part, index, start, stop) for index, (start, stop) in enumerate(itertools.pairwise(bounds))]

    def reads(self) -> float:
        """Returns how often the mean record is read."""
        total = 0
        for part in range(len(self._assignment.names)):
            for shard in self.shards(part):
                total += sum(self._source.parts[index].records for index in self._needed(shard))
        return total / max(self._source.num_records, 1)

    def _needed(self, shard: Shard) -> range:
        if shard.start == shard.stop:
            return range(0)
        before = self._before[:, shard.part]
        begin = int(np.searchsorted(before, shard.start, side="right")) - 1
        return range(begin, int(np.searchsorted(before, shard.stop, side="left")))

    def read(self, shard: Shard) -> Iterator[Piece]:
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
                    yield Piece(source.path, rows.slice(begin, stop - begin), record, chosen, begin)
            if first != self._firsts[index + 1]:
                raise DataError(
                    f"gave {first - int(self._firsts[index])} records in this pass and {source.records} before; it changed in "
                    "between",
                    path=source.path,
                )
