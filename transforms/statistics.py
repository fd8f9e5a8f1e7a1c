"""`statistics`: what a data set holds, feature by feature, in one pass."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, column_not_found
from engine.storage.destination import Destination
from transforms.batches.batch_cutter import DEFAULT_MEMORY, memory_bytes, reader_rows
from transforms.passes.progress import PassProgress

if TYPE_CHECKING:
    from engine.dataset.dataset import DataPaths, Dataset

__all__ = ["StatisticsReport", "statistics"]

_STATE_SHARE = 4  # of a worker's memory is for states
_VALUE_BYTES = 16
_MOST_EXACT, _LEAST_EXACT = 1 << 16, 1 << 12


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
    """

    statistics: Any
    schema: Any
    path: str | None
    records: int
    exact_values: int
    seconds: float


def statistics(
    ds: Dataset | DataPaths,
    out: str | os.PathLike[str] | None = None,
    runner: Any = "local",
    runner_options: Sequence[str] = (),
    *,
    slices: Sequence[Sequence[str] | str] = (),
    features: Sequence[str] = (),
    weight: str | None = None,
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
    from transforms.profiling.proto import statistics_proto
    from transforms.profiling.slices import check_slices
    from transforms.profiling.statistics_pass import StatisticsPass
    from transforms.runners import SplitReader, make_runner
    from transforms.runners.base import check_counts
    from transforms.validation.files import STATISTICS, write_statistics
    from transforms.validation.infer import infer_schema
    from transforms.validation.schema_file import as_schema

    start = time.perf_counter()
    ds = as_dataset(ds)
    held_bytes = memory_bytes(memory)
    destination = None if out is None else Destination(out, STATISTICS)
    if destination is not None:
        destination.check(ds.paths)
    backend = make_runner(runner, runner_options)
    given = None if schema is None else as_schema(schema)
    crossed = tuple((each,) if isinstance(each, str) else tuple(each) for each in slices)
    check_slices(crossed, ds.schema)
    if weight is not None and weight not in ds.schema.names:
        raise ConfigError(f"weight: {column_not_found([weight], ds.schema.names)}")
    chosen = _features(ds.schema, features, given)
    splits = ds.splits(target_split_bytes or split_bytes(ds))
    limit = held_bytes // _STATE_SHARE // _VALUE_BYTES // max(len(chosen) * len(splits), 1)
    limit = min(max(limit, _LEAST_EXACT), _MOST_EXACT)
    plan = StatisticsPass(features=chosen, slices=crossed, weight=weight, limit=limit)
    rows = reader_rows(batch_rows, ds.size_bytes, ds.num_records, held_bytes)
    reader = SplitReader(schema=ds.schema, columns=plan.columns, batch_rows=rows)
    with PassProgress("statistics", ds.num_records, ds.size_bytes, "merging") as progress:
        result = backend.accumulate(plan, reader, splits, progress)
    check_counts(splits, result.split_rows, ds.num_records)
    counts, states = plan.finish(result.parts)
    found = statistics_proto(counts, states, [name for name, _ in chosen], weight is not None)
    inferred = given if given is not None else infer_schema(found)
    if destination is not None:
        write_statistics(destination, found, inferred)
    return StatisticsReport(
        statistics=found,
        schema=inferred,
        path=None if destination is None else destination.path,
        records=ds.num_records,
        exact_values=limit,
        seconds=time.perf_counter() - start,
    )


def _features(schema: Any, wanted: Sequence[str], given: Any) -> tuple[tuple[str, str], ...]:
    """Returns (column, kind) of each feature."""
    from transforms.profiling.columns import kind_of
    from transforms.validation.schema_file import categories, raw_bytes

    unknown = [name for name in wanted if name not in schema.names]
    if unknown:
        raise ConfigError(f"features: {column_not_found(unknown, schema.names)}")
    names = categories(given) if given is not None else set()
    blobs = raw_bytes(given) if given is not None else set()
    kinds = {field.name: kind_of(field.type, field.name) for field in schema if not wanted or field.name in wanted}
    changed = {("int", True): "category", ("bytes", True): "blob"}
    return tuple(
        (name, changed.get((kind, name in (names if kind == "int" else blobs)), kind)) for name, kind in kinds.items()
    )
