"""`transform`: a data set through a transform graph, into shards."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, DataError
from engine.dataset.manifest import MANIFEST_NAME, Manifest
from engine.dataset.write import check_output, shard_name
from engine.formats.registry import format_module
from engine.storage import paths
from engine.storage.destination import Destination
from transforms.batches.batch_cutter import DEFAULT_MEMORY, memory_bytes, reader_rows
from transforms.passes.progress import PassProgress
from transforms.passes.shards import ShardTask
from transforms.passes.transformation import TransformPass

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["TransformReport", "transform"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformReport:
    """What a transformation did.

    Attributes:
        path: directory of the shards.
        records: read; each exactly once.
        written: records in the shards; the same unless the preprocessing_fn changes their number.
        shards: number of shards.
        seconds: wall time.
    """

    path: str
    records: int
    written: int
    shards: int
    seconds: float


def transform(
    ds: Dataset,
    graph: str | os.PathLike[str],
    out: str | os.PathLike[str],
    format: str = "parquet",
    num_shards: int | None = None,
    runner: Any = "local",
    runner_options: Sequence[str] = (),
    *,
    compression: str | None = None,
    batch_rows: int = 16384,
    memory: int | str = DEFAULT_MEMORY,
    target_split_bytes: int | None = None,
    hints: Sequence[str] = (),
) -> TransformReport:
    """Returns a report after writing the transformed data set; the directory appears whole or not at all.

    Args:
        ds: `engine.Dataset` of raw records.
        graph: directory that `analyze` wrote (or TFT), local or a URI.
        out: directory of the shards, local or a URI; in the order of the records.
        format: "parquet" or "tfrecord".
        num_shards: shards of equal size; None for one a split.
        runner: "local", "flink", "spark" or the name of a Beam runner.
        runner_options: options of the runner.
        compression: None or "gzip"; TFRecord also "zlib", Parquet "zstd" and "snappy". Names of TFRecord shards say it
            (.tfrecord.gz, .tfrecord.deflate), which is what Beam and TFX read compression from.
        batch_rows: most records a batch; large records come in smaller ones.
        memory: what a worker may hold, in bytes or as "2Gi": batches are cut so that the graph stays within it.
        target_split_bytes: size of a split; None chooses one.
        hints: facts on the data that may explain a failure in TensorFlow.

    Raises:
        ConfigError: for settings that cannot work, and for a preprocessing_fn that fails: it names the line of the user's file.
        DataError: for bad data, and when the records read are not those that the manifest counts.
    """
    from engine.schema.feature_spec import schema_from_feature_spec
    from transforms.analyze import split_bytes
    from transforms.batches.layouts import columns_of, layouts_of
    from transforms.output.open_graph import open_transform_graph
    from transforms.runners import FeatureReader, make_runner
    from transforms.tracing.user_errors import graph_errors
    from transforms.tracing.user_function import read_lines

    start = time.perf_counter()
    held_bytes = memory_bytes(memory)
    rows = reader_rows(batch_rows, ds.size_bytes, ds.num_records, held_bytes)
    check_output(format, compression)
    if num_shards is not None and num_shards < 1:
        raise ConfigError(f"num_shards must be 1 or more, got {num_shards}")
    destination = Destination(out, MANIFEST_NAME)
    destination.check(ds.paths)
    backend = make_runner(runner, runner_options)
    output = open_transform_graph(graph)
    feature_spec = output.transformed_feature_spec()
    layouts = layouts_of(ds.feature_spec())
    splits = ds.splits(target_split_bytes or split_bytes(ds))
    tasks = shard_tasks(splits, num_shards, format, compression)
    reader = FeatureReader.of(ds.schema, columns_of(layouts), rows)
    with destination.fill() as directory:
        plan = TransformPass(
            transform_fn=paths.join(graph, "transform_fn"),
            layouts=layouts,
            schema=schema_from_feature_spec(feature_spec),
            features=tuple(layouts_of(feature_spec).values()),
            out=directory,
            format=format,
            compression=compression,
            memory_bytes=held_bytes,
        )
        with PassProgress("transform", ds.num_records, ds.size_bytes) as progress:
            with graph_errors(read_lines(graph), "preprocessing_fn", hints):
                results = backend.transform(plan, reader, tasks, progress)
        read = sum(result.read for result in results)
        if len(results) != len(tasks) or (ds.num_records is not None and read != ds.num_records):
            raise DataError(
                f"the pass read {read} records in {len(results)} shards, the manifest counts {ds.num_records}"
            )
        stored = format_module(format).stored_schema(plan.schema)
        Manifest(tuple(result.entry for result in results), stored).save(directory)
    return TransformReport(
        path=destination.path,
        records=read,
        written=sum(result.written for result in results),
        shards=len(tasks),
        seconds=time.perf_counter() - start,
    )


def shard_tasks(
    splits: Sequence[Any], num_shards: int | None, format: str, compression: str | None, stem: str = "part"
) -> list[ShardTask]:
    """Returns what each shard is made of: one split a shard, or equal runs of records where a number is given.

    Args:
        splits: of the data set.
        num_shards: or None.
        format: of the shards.
        compression: of the shards.
        stem: first part of their names.

    Raises:
        ConfigError: when a number is given and the splits do not say how many records they hold.
    """
    if num_shards is None:
        pieces: list[list[tuple[Any, int, int | None]]] = [[(split, 0, None)] for split in splits]
    else:
        counts = [split.records for split in splits if getattr(split, "records", None) is not None]
        if len(counts) != len(splits):
            raise ConfigError(
                "num_shards needs splits of known record counts: leave it out, or index the data set first"
            )
        pieces = [[] for _ in range(num_shards)]
        total, first = sum(counts), 0
        for split, count in zip(splits, counts):
            for shard in range(num_shards):
                begin = max(shard * total // num_shards, first)
                end = min((shard + 1) * total // num_shards, first + count)
                if begin < end:
                    pieces[shard].append((split, begin - first, end - begin))
            first += count
    return [
        ShardTask(
            index=index,
            name=shard_name(index, len(pieces), format, compression, stem=stem),
            pieces=tuple(piece),
        )
        for index, piece in enumerate(pieces)
    ]
