"""`TransformDataset` and `AnalyzeAndTransformDataset` with TFT's signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.utils import shared
from apache_beam.utils.windowed_value import WindowedValue
from tensorflow_transform.beam import impl as tft_impl

from transforms.batches.batch_cutter import DEFAULT_MEMORY_BYTES, BatchCutter
from transforms.beam.analyze_dataset import AnalyzeDataset
from transforms.beam.named_errors import name_errors
from transforms.tracing.user_errors import graph_errors
from transforms.tracing.user_function import read_lines

__all__ = ["AnalyzeAndTransformDataset", "TransformDataset"]

_MAX_ROWS = 16384
_MAX_BYTES = 64 << 20


class JoinBatches(beam.DoFn):
    """Joins the record batches of a bundle into larger ones: the graph runs once a batch, whatever its size.

    Args:
        max_rows: of a joined batch; what comes larger is cut where `cut` is set.
        cut: whether the user chose the number of rows.
    """

    def __init__(self, max_rows: int = _MAX_ROWS, cut: bool = False) -> None:
        self._max_rows, self._cut = max_rows, cut

    def start_bundle(self) -> None:
        """Begins with nothing held."""
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._window: Any = None

    def process(self, batch: pa.RecordBatch, window: Any = beam.DoFn.WindowParam) -> Iterator[pa.RecordBatch]:
        """Holds a batch, and yields what has become large enough."""
        if self._cut and batch.num_rows > self._max_rows:
            for start in range(0, batch.num_rows, self._max_rows):
                yield from self.process(batch.slice(start, self._max_rows), window)
            return
        if self._held and self._cut and self._rows + batch.num_rows > self._max_rows:
            yield self._join()
        if self._held and (batch.schema != self._held[0].schema or window != self._window):
            yield self._join()
        self._window = window
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= self._max_rows or self._bytes >= _MAX_BYTES:
            yield self._join()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Yields the rest."""
        if self._held:
            window = self._window
            yield WindowedValue(self._join(), window.max_timestamp(), (window,))

    def _join(self) -> pa.RecordBatch:
        held, self._held, self._rows, self._bytes = self._held, [], 0, 0
        if len(held) == 1:
            return held[0]
        return pa.RecordBatch.from_arrays(
            [pa.concat_arrays([batch.column(index) for batch in held]) for index in range(held[0].num_columns)],
            schema=held[0].schema,
        )


class CutBatches(beam.DoFn):
    """Cuts record batches by the memory that they take inside the transform graph, measured on the first of them.

    Args:
        config: `TensorAdapterConfig` of the batches.
        memory_bytes: what a worker may hold.
    """

    def __init__(self, config: Any, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self._config, self._memory_bytes = config, memory_bytes
        self._shared = shared.Shared()  # one a process, whatever the number of its threads
        self._cutter: Any = None

    def process(self, batch: pa.RecordBatch, model: str) -> Iterator[pa.RecordBatch]:
        """Yields the slices of a batch.

        Args:
            batch: of any size.
            model: directory of the transform graph.
        """
        if self._cutter is None:
            self._cutter = self._shared.acquire(lambda: self._make(model), tag=model)
        yield from self._cutter.cut(batch)

    def _make(self, model: str) -> _MeasuredGraph:
        return _MeasuredGraph(model, self._config, self._memory_bytes)


class _MeasuredGraph:
    """A transform graph that is loaded while batches are measured, and no longer: TFT loads its own to run them."""

    def __init__(self, model: str, config: Any, memory_bytes: int) -> None:
        from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

        self._model, self._adapter, self._graph = model, TensorAdapter(config), None
        self._cutter = BatchCutter(self._run, memory_bytes)

    def cut(self, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        with graph_errors(read_lines(self._model), "preprocessing_fn", step="transform"):
            pieces = list(self._cutter.cut(batch))
        self._graph = None
        return pieces

    def _run(self, batch: pa.RecordBatch) -> Any:
        from transforms.tft.loaded_transform import LoadedTransform

        graph: Any = self._graph or LoadedTransform(self._model)
        self._graph = graph
        return graph(self._adapter.ToBatchTensors(batch))


class TransformDataset(tft_impl.TransformDataset):
    """Applies a transform function to a data set: TFT's transform on larger batches.

    Args:
        exclude_outputs: output features that should not be produced.
        output_record_batches: True for `pyarrow.RecordBatch`es, else instance dicts.
    """

    def expand(self, dataset_and_transform_fn: Any) -> Any:
        """Returns (transformed data, metadata)."""
        (values, metadata), transform_fn = dataset_and_transform_fn
        if not hasattr(metadata, "schema") and not tft_impl.Context.get_passthrough_keys():
            rows = tft_impl.Context.get_desired_batch_size()
            join = JoinBatches(rows or _MAX_ROWS, cut=bool(rows))
            values = values | "JoinBatches" >> beam.ParDo(join).with_output_types(pa.RecordBatch)
            model = beam.pvalue.AsSingleton(transform_fn[0])
            cut = beam.ParDo(CutBatches(metadata), model).with_output_types(pa.RecordBatch)
            values = values | "CutBatches" >> cut
        transformed = super().expand(((values, metadata), transform_fn))
        name_errors(transformed[0])
        return transformed


class AnalyzeAndTransformDataset(tft_impl.AnalyzeAndTransformDataset):
    """Returns ((transformed data, metadata), transform function) of a data set.

    Args:
        preprocessing_fn: the user's function, unchanged.
        output_record_batches: True for `pyarrow.RecordBatch`es, else instance dicts.
    """

    def __init__(self, preprocessing_fn: Callable[..., Any], output_record_batches: bool = False) -> None:
        super().__init__(preprocessing_fn, output_record_batches)

    def expand(self, dataset: Any) -> Any:
        """Returns ((transformed data, metadata), transform function)."""
        transform_fn = dataset | "AnalyzeDataset" >> AnalyzeDataset(self._preprocessing_fn)
        if tft_impl.Context.get_use_deep_copy_optimization():
            data, metadata = dataset
            dataset = (tft_impl.deep_copy.deep_copy(data), metadata)
        transformed = (dataset, transform_fn) | "TransformDataset" >> TransformDataset(
            output_record_batches=self._output_record_batches
        )
        return transformed, transform_fn
