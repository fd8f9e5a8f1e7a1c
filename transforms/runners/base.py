"""What a runner is: it takes a picklable pass and a list of splits, and gives back merged parts.

A runner never touches the mathematics: `AnalysisPass`, `StatisticsPass` and `TransformPass` do that, and they are the same everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from engine.core.errors import DataError
from engine.core.progress import Progress
from engine.schema.conform import conform, select_fields
from engine.schema.tensorflow_view import tensorflow_schema, timed_schema
from transforms.passes.protocols import AccumulatePass, WritePass
from transforms.passes.shards import ShardResult, ShardTask

__all__ = ["BatchReader", "FeatureReader", "PassResult", "Runner", "SplitReader", "check_counts"]


class BatchReader(Protocol):
    """What a pass reads its splits with; picklable."""

    def read(self, split: Any, /) -> Iterator[pa.RecordBatch]:
        """Yields the batches of a split of the pass."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitReader:
    """Reads splits; picklable, the same in each worker.

    Attributes:
        schema: Arrow schema of the data set.
        columns: columns to read, or None for all.
        batch_rows: records a batch.
    """

    schema: pa.Schema
    columns: tuple[str, ...] | None
    batch_rows: int = 65536

    def read(self, split: Any) -> Iterator[pa.RecordBatch]:
        """Yields the batches of a split."""
        from engine import read_split

        columns = list(self.columns) if self.columns is not None else None
        return iter(read_split(split, self.schema, batch_rows=self.batch_rows, columns=columns))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureReader(SplitReader):
    """Reads splits as TensorFlow sees them, times of all files in the data set's unit; its schema is a `timed_schema`, see `of`."""

    @staticmethod
    def of(schema: pa.Schema, columns: tuple[str, ...] | None, batch_rows: int = 65536) -> FeatureReader:
        """Returns the reader of a data set.

        Args:
            schema: of the data set.
            columns: columns to read, or None for all.
            batch_rows: records a batch.
        """
        return FeatureReader(schema=timed_schema(schema), columns=columns, batch_rows=batch_rows)

    def read(self, split: Any) -> Iterator[pa.RecordBatch]:
        """Yields the batches of a split."""
        view = tensorflow_schema(select_fields(self.schema, self.columns))
        for batch in super().read(split):
            yield batch if batch.schema.equals(view) else conform(batch, view)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassResult:
    """What came of a pass.

    Attributes:
        parts: merged and sealed parts by (analyzer, part).
        split_rows: records read of each split, by index of the split.
    """

    parts: Mapping[tuple[int, int], bytes | memoryview]
    split_rows: Mapping[int, int]


class Runner(Protocol):
    """Runs passes.

    Attributes:
        name: as the user gives it.
    """

    name: str

    def accumulate(
        self, plan: AccumulatePass, reader: BatchReader, splits: Sequence[Any], progress: Progress
    ) -> PassResult:
        """Returns the merged parts of a pass over all splits."""

    def transform(
        self, plan: WritePass, reader: BatchReader, tasks: Sequence[ShardTask], progress: Progress
    ) -> list[ShardResult]:
        """Runs each task and returns the results in the order of tasks. A task may be run again: it is idempotent."""


def check_counts(splits: Sequence[Any], split_rows: Mapping[int, int], num_records: int | None) -> int:
    """Returns the number of records that a pass saw.

    Raises:
        DataError: when a split is missing, or a count is not what the manifest says.
    """
    missing = [index for index in range(len(splits)) if index not in split_rows]
    if missing:
        raise DataError(f"the pass lost {len(missing)} of {len(splits)} splits, the first is {splits[missing[0]]}")
    for index, split in enumerate(splits):
        expected = getattr(split, "records", None)
        if expected is not None and expected != split_rows[index]:
            raise DataError(
                f"the pass read {split_rows[index]} records of a split of {expected}: {split}", path=split.path
            )
    total = sum(split_rows.values())
    if num_records is not None and total != num_records:
        raise DataError(
            f"the pass read {total} records, the manifest counts {num_records}: the files changed meanwhile"
        )
    return total
