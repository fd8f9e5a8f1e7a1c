"""One pass that transforms: what a worker does for one shard of the output.

A `TransformPass` is picklable and knows nothing of where it runs; `shards` has what it is asked for and what it answers.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from engine.storage.tree import for_tensorflow
from transforms.batches.batch_cutter import DEFAULT_MEMORY_BYTES, BatchCutter
from transforms.batches.graph_inputs import check_outputs, fit_layouts
from transforms.batches.graph_strings import eager_tensor
from transforms.batches.placeholders import FeatureLayout, components
from transforms.passes.shards import ShardTask, pieces_of, write_shard
from transforms.tracing.user_function import place_of_output

__all__ = ["OpenTransform", "TransformPass", "tensor_of"]


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


def tensor_of(tf: Any, batch: pa.RecordBatch, layout: FeatureLayout) -> Any:
    """Returns a feature of a batch as TensorFlow sees it: dense, sparse or ragged."""
    parts = [eager_tensor(part) for part in components(batch, layout)]
    if layout.kind in ("sparse", "coordinates"):
        return tf.SparseTensor(*parts)
    if layout.kind == "ragged":
        return tf.RaggedTensor.from_nested_row_splits(parts[0], parts[1:], validate=False)
    return parts[0]
