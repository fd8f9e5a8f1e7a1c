"""Statistics of a data set as TFX's Transform writes them: TFDV's own generators over Arrow batches, without Beam.

TFDV computes by columns already; what its Beam pipeline costs is the way there, many small batches through many stages. Here the
batches are those of the engine's reader. Options that are more than generators over rows (slices, samples, labels, features derived or
left out) go through TFDV's pipeline, on the same batches.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_data_validation.statistics import stats_impl

from engine.schema.kinds import is_text_or_bytes
from engine.schema.lists import is_list, value_lengths

__all__ = ["as_lists", "generate", "write"]

_SPECIAL = ("generators", "slicing_config", "experimental_slice_functions", "label_feature", "sample_rate",
            "feature_allowlist", "enable_semantic_domain_stats", "per_feature_weight_override")  # fmt: skip


def generate(batches: Iterable[pa.RecordBatch], options: Any) -> Any:
    """Returns the DatasetFeatureStatisticsList of a data set.

    Args:
        batches: of the engine's reader.
        options: `tfdv.StatsOptions`.
    """
    lists = (as_lists(batch) for batch in batches)
    if any(getattr(options, name, None) for name in _SPECIAL):
        return _by_pipeline(lists, options)
    generators = stats_impl.get_generators(options, in_memory=True)
    states = [each.create_accumulator() for each in generators]
    for batch in lists:
        states = [each.add_input(state, batch) for each, state in zip(generators, states)]
    return stats_impl.extract_statistics_output(states, generators)


def write(statistics: Any, schema: Any, stats_dir: str, schema_dir: str, anomalies_dir: str | None = None) -> None:
    """Writes statistics, their schema and, where asked for, what TFDV finds wrong in them, under the names that TFX uses.

    Args:
        statistics: DatasetFeatureStatisticsList.
        schema: what the statistics were made with; None writes no schema and no anomalies.
        stats_dir: gets `FeatureStats.pb`.
        schema_dir: gets `schema.pbtxt`.
        anomalies_dir: gets `SchemaDiff.pb`; None validates nothing.
    """
    _put(stats_dir, "FeatureStats.pb", statistics.SerializeToString())
    if schema is None:
        return
    _put(schema_dir, "schema.pbtxt", text_format.MessageToString(schema).encode())
    if anomalies_dir is not None:
        found = tfdv.validate_statistics(statistics, schema)
        _put(anomalies_dir, "SchemaDiff.pb", found.SerializeToString())


def as_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Returns a batch in the shape that TFDV takes: each column a list of the row's values, null where the feature is missing."""
    arrays = [_as_list(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _as_list(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    rows, lengths = len(column), None
    valid = column.is_valid()
    while is_list(column.type):
        inner = pa.array(value_lengths(column))
        lengths = inner if lengths is None else _sum_by(inner, lengths)
        column = column.flatten()
    if lengths is None:
        lengths = valid.cast(pa.int64())
        column = column.drop_null()
    offsets = (
        pa.concat_arrays([pa.array([0], pa.int64()), pa.compute.cumulative_sum(lengths)])
        if rows
        else pa.array([0], pa.int64())
    )
    return pa.LargeListArray.from_arrays(offsets, _primitive(column), mask=pa.compute.invert(valid))


def _sum_by(inner: pa.Array, lengths: pa.Array) -> pa.Array:
    """Returns how many innermost values a row has, of the lengths of its lists and how many lists it has."""
    import numpy as np

    ends = np.concatenate([[0], np.cumsum(inner.to_numpy(zero_copy_only=False))])
    at = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))])
    return pa.array(np.diff(ends[at]))


def _primitive(values: pa.Array) -> pa.Array:
    if is_text_or_bytes(values.type):
        return values.cast(pa.large_binary())
    return values.cast(pa.int64()) if pa.types.is_boolean(values.type) else values


def _by_pipeline(batches: Iterator[pa.RecordBatch], options: Any) -> Any:
    import tempfile

    import apache_beam as beam

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "statistics.pb")
        with beam.Pipeline() as pipeline:
            rows = pipeline | beam.Create(list(batches)).with_output_types(pa.RecordBatch)
            _ = rows | tfdv.GenerateStatistics(options) | tfdv.WriteStatisticsToBinaryFile(path)
        return tfdv.load_stats_binary(path)


def _put(directory: str, name: str, content: bytes) -> None:
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(content)
