"""What TFX's Transform does with its data, done by `analyze` and `transform` on this machine.

TFX's executor makes one Beam pipeline: reading, decoding, analysis, statistics before and after, transformation, encoding. On Beam's
local runner each record passes through Python a few times. Where the pipeline would run there, the same outputs come of Fullpass's own
passes over the same files; for any other runner TFX's pipeline stays, with our analysis in it.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_transform as tft
from tensorflow_transform.tf_metadata import metadata_io

from engine import Dataset
from engine.dataset.manifest import MANIFEST_NAME
from engine.dataset.shard_numbers import numbered
from engine.storage import uris
from transforms.tfx.lists import as_lists

__all__ = ["LocalRun", "asset_map", "input_columns", "is_local", "span_name", "workers_option"]

_LOCAL_RUNNERS = {"DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner", "FnApiRunner", "PrismRunner"}
_BATCH_ROWS = 65536
_COMPRESSIONS = {"tfrecord": "gzip", "parquet": "snappy"}  # TFX's own


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalRun:
    """One run of the component.

    Attributes:
        analyzed: glob of the files by name of the data set, of those that are analyzed.
        transformed: (glob of the files, prefix of the shards to write or None) of those that are transformed.
        file_format: "tfrecord" or "parquet", of the shards to write as of the files.
        schema: Schema of the raw data.
        preprocessing_fn: the user's.
        out: directory of the transform graph.
        temp: directory for what is written meanwhile; it lies on the file system of `out`.
        cache_in: directory of the former run's cache, or None.
        cache_out: directory of the cache to write, or None.
        runner_options: of the local runner.
    """

    analyzed: Mapping[str, str]
    transformed: Sequence[tuple[str, str | None]]
    schema: Any
    preprocessing_fn: Callable[..., Any]
    out: str
    temp: str
    file_format: str = "tfrecord"
    cache_in: str | None = None
    cache_out: str | None = None
    runner_options: Sequence[str] = ()

    def open(self) -> None:
        """Opens the data sets.

        Raises:
            ConfigError: a schema that the engine cannot read by; nothing was written then.
        """
        for pattern in [*self.analyzed.values(), *(pattern for pattern, _ in self.transformed)]:
            _ = self._data(pattern).schema

    def analyze(self) -> Any:
        """Writes the transform graph and the cache, and returns the `TFTransformOutput`."""
        from transforms.analyze import analyze
        from transforms.analyze_spans import analyze_spans

        graph = os.path.join(self.temp, "graph")
        spans = {name: self._data(pattern) for name, pattern in self.analyzed.items()}
        if self.cache_out is None:
            files = [path for each in spans.values() for path in each.paths]
            analyze(Dataset.open(files, self.schema), self.preprocessing_fn, graph, runner_options=self.runner_options)
        else:
            os.makedirs(self.cache_out, exist_ok=True)
            for name in spans if self.cache_in is not None else ():
                known = os.path.join(str(self.cache_in), f"{name}.fpac")
                if os.path.exists(known):
                    shutil.copy2(known, self.cache_out)
            analyze_spans(
                spans, self.preprocessing_fn, graph, self.cache_out, runner_options=self.runner_options
            )  # fmt: skip
        for name in os.listdir(graph):
            shutil.move(os.path.join(graph, name), os.path.join(self.out, name))
        raw = os.path.join(self.out, tft.TFTransformOutput.RAW_METADATA_DIR)
        metadata_io.write_metadata(tft.DatasetMetadata(self.schema), raw)
        return tft.TFTransformOutput(self.out)

    def transform(self) -> list[str]:
        """Writes the transformed examples of each data set, and returns the directories in which they can be read until `close`."""
        from transforms.transform import transform

        directories = []
        for index, (pattern, _) in enumerate(self.transformed):
            directories.append(os.path.join(self.temp, f"transformed-{index}"))
            transform(
                self._data(pattern),
                self.out,
                directories[-1],
                self.file_format,
                compression=_COMPRESSIONS[self.file_format],
                runner_options=self.runner_options,
            )
        return directories

    def materialize(self, directories: Sequence[str]) -> None:
        """Moves transformed examples to where TFX wants them, under the names that its writer gives."""
        for directory, (_, prefix) in zip(directories, self.transformed):
            if prefix is None:
                continue
            os.makedirs(os.path.dirname(prefix), exist_ok=True)
            shards = sorted(name for name in os.listdir(directory) if name != MANIFEST_NAME)
            for index, name in enumerate(shards):
                shard = os.path.join(directory, name)
                if self.file_format == "parquet":
                    _write_lists(shard, numbered(prefix, index, len(shards), ".parquet"))
                else:
                    os.replace(shard, numbered(prefix, index, len(shards), ".gz"))

    def raw_batches(self, columns: Sequence[str]) -> Any:
        """Yields the batches of the data sets that are analyzed."""
        for pattern in self.analyzed.values():
            yield from self._data(pattern).read_batches(_BATCH_ROWS, columns=list(columns))

    def transformed_batches(self, directories: Sequence[str]) -> Any:
        """Yields the batches of all transformed data sets."""
        for directory in directories:
            yield from Dataset.open(directory).read_batches(_BATCH_ROWS)

    def _data(self, pattern: str) -> Dataset:
        files = sorted(path for path in glob.glob(pattern) if os.path.isfile(path))
        return Dataset.open(files, self.schema)


def _write_lists(shard: str, place: str) -> None:
    """Writes a Parquet file again as TFX writes and reads it: each column a list of the row's values."""
    with pq.ParquetFile(shard) as source:
        schema = as_lists(pa.RecordBatch.from_pylist([], schema=source.schema_arrow)).schema
        with pq.ParquetWriter(place, schema, compression="snappy") as writer:
            for batch in source.iter_batches(_BATCH_ROWS):
                writer.write_batch(as_lists(batch))


def is_local(pipeline: Any, names: Sequence[str | None]) -> bool:
    """Returns whether a Beam pipeline would run in this process, on files of this machine.

    Args:
        pipeline: made, not run.
        names: paths that are read and written.
    """
    return type(pipeline.runner).__name__ in _LOCAL_RUNNERS and not any(name and uris.is_remote(name) for name in names)


def workers_option(pipeline: Any) -> list[str]:
    """Returns the local runner's option of what `--direct_num_workers` says; 0, as there, is one for each core."""
    from apache_beam.options.pipeline_options import DirectOptions

    asked = pipeline.options.view_as(DirectOptions).direct_num_workers
    return [f"--workers={asked}"] if asked and asked > 1 else []


def span_name(dataset_key: Any) -> str:
    """Returns the name of a data set's cache: a file name for TFX's key, which is a path and a hash of it."""
    return hashlib.sha256(str(dataset_key.key).encode()).hexdigest()[:32]


def asset_map(graph: str) -> dict[str, str]:
    """Returns the file name of each vocabulary by its key, of a transform graph."""
    path = os.path.join(graph, tft.TFTransformOutput.TRANSFORMED_METADATA_DIR, tft.TFTransformOutput.ASSET_MAP)
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return dict(json.load(file))


def input_columns(preprocessing_fn: Callable[..., Any], tfxio: Any) -> list[str]:
    """Returns the raw columns that a preprocessing_fn uses, sorted.

    Args:
        preprocessing_fn: the user's.
        tfxio: of the raw data, maybe of the columns that are analyzed only.
    """
    specs = tfxio.TensorAdapter().OriginalTypeSpecs()
    return sorted(
        {
            *tft.get_analyze_input_columns(preprocessing_fn, specs),
            *tft.get_transform_input_columns(preprocessing_fn, specs),
        }
    )
