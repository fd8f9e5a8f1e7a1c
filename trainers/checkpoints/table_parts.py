"""Tables in checkpoints: each worker writes its own rows, the chief joins the files without reading them. Rows on parameter
servers are written by the chief, a part at a time.

They are written as TensorFlow writes partitioned variables: a checkpoint has one tensor for a table, of which any range of
rows can be read. So a run goes on with another number of workers, and an export reads a whole table.
"""

from __future__ import annotations

import posixpath
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.storage import tree as storage

__all__ = ["GROUP", "TableParts", "read_rows", "remove_parts", "tensor_key", "verify_rows", "write_part"]

GROUP = "table"
_PREFIX = ".parts-"


@dataclass(frozen=True, kw_only=True)
class TableParts:
    """The rows of all workers, on disk, not yet part of a checkpoint.

    Args:
        folder: where they are.
        prefixes: of the files of each worker, table and part.
        described: (name, whole shape, type) of each table and its optimizer's state.
        ranges: (first row, rows) of each worker or part, by name of the table.
    """

    folder: Path
    prefixes: Sequence[str]
    described: Sequence[tuple[str, list[int], str]]
    ranges: dict[str, list[tuple[int, int]]]

    def join(self, own: str, target: str) -> None:
        """Makes one set of tensor files of these and the chief's own; those are gone afterwards."""
        import tensorflow as tf

        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=[own, *self.prefixes], destination_prefix=target, delete_old_dirs=False
        )
        self.remove()

    def remove(self) -> None:
        """Deletes them."""
        shutil.rmtree(self.folder, ignore_errors=True)


def tensor_key(group: str, index: int, name: str) -> str:
    """Returns the name of a tensor in the files of a checkpoint."""
    return f"{group}/{index:05d}/{name}"


def _slice(shape: Sequence[int], first: int, size: int) -> str:
    return f"{shape[0]} {shape[1]} {first},{size}:0,{shape[1]}"


def write_part(root: str, step: int, tables: Sequence[Any], host: int, hosts: int) -> TableParts:
    """Writes the rows that this worker holds, and returns where those of all workers are once all have written.

    Args:
        root: directory of the checkpoints, shared by the workers.
        step: of the checkpoint.
        tables: `ShardedTable`s.
        host: this worker.
        hosts: all workers.
    """
    import tensorflow as tf

    if storage.is_local(root):
        folder = storage.local_path(posixpath.join(root, f"{_PREFIX}{step:012d}"))
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="fullpass-parts-"))
    entries = [(table, name, parts) for table in tables for name, parts in table.saved]
    shapes = [[table.rows, table.width] for table, _, _ in entries]
    # A worker holds one part of each. The chief of parameter servers has many, on them: one at a time is in its memory.
    pieces = [(i, number) for i, (_, _, parts) in enumerate(entries) for number in range(len(parts))]
    for i, number in pieces:
        part = entries[i][2][number]
        with tf.device("/cpu:0"):
            tf.raw_ops.SaveV2(
                prefix=str(folder / f"part-{host}-{i}-{number}"),
                tensor_names=[tensor_key(GROUP, i, entries[i][1])],
                shape_and_slices=[_slice(shapes[i], part.first, part.size)],
                tensors=[part.variable.read_value()],
            )
    return TableParts(
        folder=folder,
        prefixes=[str(folder / f"part-{each}-{i}-{number}") for each in range(hosts) for i, number in pieces],
        described=[(name, shape, parts[0].variable.dtype.name) for shape, (_, name, parts) in zip(shapes, entries)],
        ranges={name: table.ranges for table, name, _ in entries},
    )


def remove_parts(root: str) -> None:
    """Deletes what killed writers left of parts."""
    if storage.is_local(root):
        for folder in storage.local_path(root).glob(f"{_PREFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)


def read_rows(prefix: str, index: int, entry: tuple[str, Sequence[int], str], first: int, size: int) -> Any:
    """Returns some rows of a table, float32 [size, width]; no others are kept in memory.

    Args:
        prefix: of the checkpoint's tensor files.
        index: of the entry among those of the group.
        entry: (name, whole shape, type).
        first: first row.
        size: rows.
    """
    import tensorflow as tf

    name, shape, kind = entry
    return tf.raw_ops.RestoreV2(
        prefix=prefix,
        tensor_names=[tensor_key(GROUP, index, name)],
        shape_and_slices=[_slice(shape, first, size)],
        dtypes=[tf.as_dtype(kind)],
    )[0]


def verify_rows(prefix: str, entries: Sequence[Any], ranges: dict[str, list[tuple[int, int]]]) -> None:
    """Reads all rows, those of one worker at a time.

    Raises:
        tf.errors.OpError: a file is missing or damaged.
    """
    for index, entry in enumerate(entries):
        for first, size in ranges.get(entry[0], [(0, entry[1][0])]):
            read_rows(prefix, index, entry, first, size)
