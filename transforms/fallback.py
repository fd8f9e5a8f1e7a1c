"""TFT's own implementation, for pipelines with an operation that Fullpass does not know (a user's own PTransform).

The data set is still read by splits, and its records are counted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.tfxio import tf_example_record

from engine.schema.lists import is_variable_list
from engine.storage.atomic import atomic_file
from engine.storage.destination import Destination
from transforms.runners.base import SplitReader, check_counts

__all__ = ["analyze_with_tft", "to_tfxio"]


def analyze_with_tft(
    feature_spec: Mapping[str, Any],
    preprocessing_fn: Callable[..., Any],
    out: Destination,
    backend: Any,
    reader: SplitReader,
    splits: Sequence[Any],
    num_records: int | None,
) -> None:
    """Writes the transform graph by `tensorflow_transform.beam.AnalyzeDataset`.

    Args:
        feature_spec: of the data set.
        preprocessing_fn: the user's.
        out: gets the graph; it appears whole or not at all.
        backend: the runner; its pipeline options are used where it has some.
        reader: reads splits.
        splits: of the data set.
        num_records: that the manifest counts, or None.

    Raises:
        DataError: when the records read are not those that the manifest counts.
    """
    schema = schema_utils.schema_from_feature_spec(
        {name: _without_default(each) for name, each in feature_spec.items()}
    )
    source = tf_example_record.TFExampleBeamRecord("inmem", ["Fullpass"], schema=schema)
    config = source.TensorAdapterConfig()
    options = backend.pipeline_options() if hasattr(backend, "pipeline_options") else PipelineOptions([])
    work_dir = getattr(backend, "work_dir", None)
    with (
        tempfile.TemporaryDirectory(prefix="fullpass-tft-", dir=work_dir) as directory,
        out.stage() as temporary,
    ):
        with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=os.path.join(directory, "tft")):
            batches = (
                pipeline
                | "Splits" >> beam.Create(list(enumerate(splits)), reshuffle=False)
                | "Spread" >> beam.Reshuffle()
                | "Read"
                >> beam.ParDo(ReadSplit(reader, config.arrow_schema, directory)).with_output_types(pa.RecordBatch)
            )
            transform_fn = (batches, config) | tft_beam.AnalyzeDataset(preprocessing_fn)
            _ = transform_fn | tft_beam.WriteTransformFn(str(temporary))
        rows = {}
        for index in range(len(splits)):
            path = os.path.join(directory, f"rows-{index}")
            if os.path.exists(path):
                with open(path) as file:
                    rows[index] = int(file.read())
        check_counts(splits, rows, num_records)


def _without_default(feature: Any) -> Any:
    """TFT's schema knows no default values; the engine's reader has filled them in."""
    if getattr(feature, "default_value", None) is None:
        return feature
    return type(feature)(feature.shape, feature.dtype)


class ReadSplit(beam.DoFn):
    """Reads splits as TFXIO batches.

    Args:
        reader: reads splits.
        schema: Arrow schema of TFXIO.
        directory: gets a file with the record count of each split.
    """

    def __init__(self, reader: SplitReader, schema: pa.Schema, directory: str) -> None:
        self._reader, self._schema, self._directory = reader, schema, directory

    def process(self, element: tuple[int, Any]) -> Iterator[pa.RecordBatch]:
        """Yields the batches of a split."""
        index, split = element
        rows = 0
        for batch in self._reader.read(split):
            rows += batch.num_rows
            yield to_tfxio(batch, self._schema)
        with atomic_file(os.path.join(self._directory, f"rows-{index}")) as path:
            path.write_text(str(rows))


def to_tfxio(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Returns the batch with every column as lists, as TFXIO has them; a null becomes a null list.

    Args:
        batch: of an `engine.Dataset` in TensorFlow's types.
        schema: Arrow schema of TFXIO.
    """
    columns = []
    for field in schema:
        column = batch.column(field.name)
        if pa.types.is_fixed_size_list(column.type):
            column = column.cast(pa.list_(column.type.value_type))
        elif not is_variable_list(column.type):
            lengths = column.is_valid().to_numpy(zero_copy_only=False).astype(np.int32)
            offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
            mask = pa.array(lengths == 0) if column.null_count else None
            column = pa.ListArray.from_arrays(offsets, column.drop_null(), mask=mask)
        columns.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
