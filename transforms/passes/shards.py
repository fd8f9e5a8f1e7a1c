"""The shards that a pass writes: which records make up one, and what was written.

A task names the records of a shard. A shard is written to a hidden name and renamed, so a task that runs twice leaves the same file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from engine.dataset.file_entry import FileEntry
from engine.storage import paths

__all__ = ["ShardResult", "ShardTask", "pieces_of", "write_shard"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardTask:
    """The records of one output shard.

    Attributes:
        index: of the shard.
        name: file name of the shard.
        pieces: (split, records to skip at its begin, records to take or None for the rest), in order.
    """

    index: int
    name: str
    pieces: tuple[tuple[Any, int, int | None], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardResult:
    """A written shard.

    Attributes:
        index: of the shard.
        read: records read for it.
        entry: the shard as a manifest lists it, read back from the file.
    """

    index: int
    read: int
    entry: FileEntry

    @property
    def written(self) -> int:
        """Records in the shard."""
        return self.entry.records

    def to_json(self) -> dict[str, Any]:
        """Returns the result as JSON values."""
        return {"index": self.index, "read": self.read, "entry": self.entry.to_json()}

    @staticmethod
    def from_json(value: dict[str, Any]) -> ShardResult:
        """Returns the result that `to_json` made."""
        entry = dataclasses.replace(FileEntry.from_json(value["entry"]), levels=0)
        return ShardResult(index=value["index"], read=value["read"], entry=entry)


def write_shard(
    plan: Any,
    task: ShardTask,
    batches: Iterable[pa.RecordBatch],
    made: Callable[[pa.RecordBatch], Iterable[pa.RecordBatch]],
) -> ShardResult:
    """Writes the shard of a task, and reads back what the manifest says of it: here, where its bytes are in memory still.

    Args:
        plan: has `out`, `schema`, `format` and `compression` of the shards.
        task: what to write.
        batches: of the task's records.
        made: the rows that a batch becomes.
    """
    from engine import write_batches

    counts = {"read": 0}

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            counts["read"] += batch.num_rows
            yield from made(batch)

    path = paths.join(plan.out, task.name)
    written = write_batches(rows(), plan.schema, path, plan.format, plan.compression)
    return ShardResult(index=task.index, read=counts["read"], entry=FileEntry.of_written(path, written))


def pieces_of(task: ShardTask, reader: Any) -> Iterator[pa.RecordBatch]:
    """Yields the batches of a task's records, in order.

    Args:
        task: names them.
        reader: `SplitReader`, or another with its `read`.
    """
    for split, skip, take in task.pieces:
        for batch in reader.read(split):
            if skip:
                dropped = min(skip, batch.num_rows)
                skip -= dropped
                batch = batch.slice(dropped)
            if take is not None:
                batch = batch.slice(0, take)
                take -= batch.num_rows
            if batch.num_rows:
                yield batch
            if take == 0:
                break
