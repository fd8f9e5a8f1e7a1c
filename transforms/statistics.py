"""`statistics`: what a data set holds, feature by feature, in one pass."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transforms.batches.batch_cutter import DEFAULT_MEMORY, memory_bytes, reader_rows
from transforms.statistics_job import LabelShares, StatisticsJob

if TYPE_CHECKING:
    from engine.dataset.dataset import DataPaths, Dataset

__all__ = ["StatisticsReport", "statistics"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatisticsReport:
    """What a pass of statistics found.

    Attributes:
        statistics: `tensorflow_metadata.proto.v0.statistics_pb2.DatasetFeatureStatisticsList`: all records, then each slice.
        schema: the Schema inferred from them, or the one that was given.
        path: directory that was written, or None.
        records: in the data set; the pass read every one exactly once.
        exact_values: most distinct values of a feature of which everything is exact; beyond, see docs/statistics.md.
        seconds: wall time.
        label_shares: how often each value of a label occurs, by column.
    """

    statistics: Any
    schema: Any
    path: str | None
    records: int
    exact_values: int
    seconds: float
    label_shares: Mapping[str, LabelShares] = dataclasses.field(default_factory=dict)


def statistics(
    ds: Dataset | DataPaths,
    out: str | os.PathLike[str] | None = None,
    runner: Any = "local",
    runner_options: Sequence[str] = (),
    *,
    slices: Sequence[Sequence[str] | str] = (),
    features: Sequence[str] = (),
    weight: str | None = None,
    labels: Sequence[str] = (),
    schema: Any = None,
    batch_rows: int = 131072,
    memory: int | str = DEFAULT_MEMORY,
    target_split_bytes: int | None = None,
) -> StatisticsReport:
    """Returns the statistics of a data set, after one pass over it.

    Args:
        ds: `engine.Dataset`, or what `Dataset.open` takes.
        out: directory to write them to, local or a URI (docs/statistics.md lists its files); it appears whole or not at all.
        runner: "local", "flink", "spark" or the name of a Beam runner.
        runner_options: options of the runner.
        slices: columns whose values make slices, each one name or several that are crossed.
        features: columns to take statistics of; empty for all.
        weight: column that weighs the records; weighted statistics are then given beside the others.
        labels: columns whose values' shares are told, each value with its count, beside the statistics and in the report.
        schema: Schema message, or the path of one, that says which integers are categories and which bytes are no text.
        batch_rows: most records a batch; large records come in smaller ones.
        memory: what a worker may hold, in bytes or as "2Gi".
        target_split_bytes: size of a split; None chooses one.

    Raises:
        ConfigError: a column that is not there, a slice of too many values, a runner that cannot work.
        DataError: for bad data, and when the records read are not those that the manifest counts.
    """
    from engine.dataset.dataset import as_dataset
    from transforms.analyze import split_bytes
    from transforms.runners import make_runner

    start = time.perf_counter()
    ds = as_dataset(ds)
    held_bytes = memory_bytes(memory)
    backend = make_runner(runner, runner_options)
    splits = ds.splits(target_split_bytes or split_bytes(ds))
    job = StatisticsJob.of(
        ds, splits, out, held_bytes, slices=slices, features=features, weight=weight, labels=labels, schema=schema
    )
    taken = job.run(backend, ds, splits, reader_rows(batch_rows, ds.size_bytes, ds.num_records, held_bytes))
    return StatisticsReport(
        statistics=taken.statistics,
        schema=taken.schema,
        path=job.write(taken),
        records=ds.num_records,
        exact_values=job.plan.limit,
        seconds=time.perf_counter() - start,
        label_shares=taken.label_shares,
    )
