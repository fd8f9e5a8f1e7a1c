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

from transforms.tfx.lists import as_lists

__all__ = ["generate", "write"]

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
