"""One pass that transforms: what a worker does for one shard of the output.

A `TransformPass` is picklable and knows nothing of where it runs. A task names the records that make up a shard; a shard
is written to a hidden name and renamed, so a task that runs twice leaves the same file.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from engine.dataset.file_entry import FileEntry
from engine.storage import paths
from engine.storage.tree import for_tensorflow
from transforms.batches.batch_cutter import DEFAULT_MEMORY_BYTES, BatchCutter
from transforms.batches.graph_inputs import check_outputs, fit_layouts
from transforms.batches.graph_strings import eager_tensor
from transforms.batches.placeholders import FeatureLayout, components
from transforms.tracing.user_function import place_of_output

__all__ = ["OpenTransform", "ShardResult", "ShardTask", "TransformPass", "pieces_of", "write_shard"]


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformPass:
    """All that a worker needs to transform.

    Attributes:
        transform_fn: directory of the SavedModel, local or a URI, which each worker copies for itself.
        layouts: how input features are laid out in batches.
        schema: Arrow schema of the shards.
        features: (feature, kind, columns) of each output.
        out: directory of the shards, local or a URI.
        format: "parquet" or "tfrecord".
        compression: of the shards, or None.
        memory_bytes: what a worker may hold, see `batches.batch_cutter`.
    """

    transform_fn: str
    layouts: Mapping[str, FeatureLayout]
    schema: pa.Schema
    features: tuple[FeatureLayout, ...]
    out: str
    format: str
    compression: str | None
    memory_bytes: int = DEFAULT_MEMORY_BYTES

    def open(self) -> OpenTransform:
        """Returns the pass ready to run in this process. Imports TensorFlow."""
        return OpenTransform(self)


class OpenTransform:
    """A pass in a worker; `run` may be called from several threads.

    Args:
        plan: the pass.
    """

    def __init__(self, plan: TransformPass) -> None:
        from transforms.tft.loaded_transform import LoadedTransform, inputs_of

        self.plan = plan
        self._apply: Any = LoadedTransform(for_tensorflow(plan.transform_fn))
        self._layouts = fit_layouts(plan.layouts, inputs_of(self._apply.loader))
        check_outputs(self._apply.loader, self._layouts, [feature.name for feature in plan.features])
        self._pieces = BatchCutter(self.transform, plan.memory_bytes)

    def after_measuring(self, call: Callable[[], None]) -> None:
        """Has `call` be called when the memory of the first records is known."""
        self._pieces.on_measured = call

    def run(
        self, task: ShardTask, reader: Any, watch: Callable[[Iterator[Any]], Iterator[Any]] = lambda batches: batches
    ) -> Any:
        """Writes the shard of a task, and reads back what the manifest says of it: here, where its bytes are in memory still.

        Args:
            task: what to write.
            reader: `SplitReader`.
            watch: wraps the iterator of batches, to count them.

        Raises:
            DataError: bad data, or a file that does not hold what was written to it.
        """
        return write_shard(self.plan, task, watch(pieces_of(task, reader)), self._transformed)

    def _transformed(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        return (result for _, result in self._pieces(batch))

    def transform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the transformed batch."""
        import tensorflow as tf

        from transforms.batches.output_batches import to_record_batch

        inputs = {name: tensor_of(tf, batch, layout) for name, layout in self._layouts.items()}
        outputs, plan = self._apply(inputs), self.plan
        place_of = functools.partial(place_of_output, plan.transform_fn)
        return to_record_batch(outputs, plan.features, plan.schema, batch.num_rows, place_of)

    def close(self) -> None:
        """Frees the model."""
        self._apply = None


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


def tensor_of(tf: Any, batch: pa.RecordBatch, layout: FeatureLayout) -> Any:
    """Returns a feature of a batch as TensorFlow sees it: dense, sparse or ragged."""
    parts = [eager_tensor(part) for part in components(batch, layout)]
    if layout.kind in ("sparse", "coordinates"):
        return tf.SparseTensor(*parts)
    if layout.kind == "ragged":
        return tf.RaggedTensor.from_nested_row_splits(parts[0], parts[1:], validate=False)
    return parts[0]
