"""What is asked for of statistics: the pass that takes them, by itself or with an analysis, and what is made of its parts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, DataError, column_not_found
from engine.core.text_encoding import as_text
from engine.storage.destination import Destination
from transforms.passes.progress import PassProgress

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset
    from transforms.profiling.statistics_pass import StatisticsPass

__all__ = ["LabelShares", "StatisticsJob", "TakenStatistics", "job_beside"]

_STATE_SHARE = 4  # of a worker's memory is for states
_VALUE_BYTES = 16
MOST_EXACT, _LEAST_EXACT = 1 << 16, 1 << 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelShares:
    """How often each value of a label occurs.

    Attributes:
        counts: number of values by value as text, see `as_text`, the most frequent first, ties by value.
        missing: records without a label.
        values: number of all values, those that were not kept too.
        exact: whether these are all values with their exact counts; there were too many of them otherwise.
    """

    counts: Mapping[str, int]
    missing: int
    values: int
    exact: bool

    @property
    def shares(self) -> dict[str, float]:
        """The part of all values that each makes up."""
        return {value: count / self.values for value, count in self.counts.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TakenStatistics:
    """What was found.

    Attributes:
        statistics: `DatasetFeatureStatisticsList`.
        schema: inferred from them, or the one that was given.
        label_shares: by column.
    """

    statistics: Any
    schema: Any
    label_shares: Mapping[str, LabelShares]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatisticsJob:
    """The pass over a data set, and where its results go.

    Attributes:
        plan: the pass.
        labels: columns whose values' shares are told.
        given: Schema message in place of an inferred one, or None.
        destination: directory of the statistics, or None.
    """

    plan: StatisticsPass
    labels: tuple[str, ...]
    given: Any
    destination: Destination | None

    @staticmethod
    def of(
        ds: Dataset,
        splits: Sequence[Any],
        out: str | os.PathLike[str] | None,
        held_bytes: int,
        *,
        slices: Sequence[Sequence[str] | str] = (),
        features: Sequence[str] = (),
        weight: str | None = None,
        labels: Sequence[str] = (),
        schema: Any = None,
    ) -> StatisticsJob:
        """Returns the job, after checking all that can be checked without reading.

        Args:
            ds: `engine.Dataset`.
            splits: of it.
            out: directory of the statistics, or None.
            held_bytes: what a worker may hold.
            slices: columns whose values make slices.
            features: columns to take statistics of; empty for all.
            weight: column that weighs the records.
            labels: columns whose values' shares are told.
            schema: Schema message or its path.

        Raises:
            ConfigError: a column that is not there, or `out` cannot be written.
        """
        from transforms.profiling.slices import check_slices
        from transforms.profiling.statistics_pass import StatisticsPass
        from transforms.validation.files import STATISTICS
        from transforms.validation.schema_file import as_schema

        destination = None if out is None else Destination(out, STATISTICS)
        if destination is not None:
            destination.check(ds.paths)
        given = None if schema is None else as_schema(schema)
        crossed = tuple((each,) if isinstance(each, str) else tuple(each) for each in slices)
        check_slices(crossed, ds.schema)
        if weight is not None and weight not in ds.schema.names:
            raise ConfigError(f"weight: {column_not_found([weight], ds.schema.names)}")
        unknown = [name for name in labels if name not in ds.schema.names]
        if unknown:
            raise ConfigError(f"labels: {column_not_found(unknown, ds.schema.names)}")
        chosen = _features(ds.schema, [*features, *labels] if features else (), given)
        limit = held_bytes // _STATE_SHARE // _VALUE_BYTES // max(len(chosen) * len(splits), 1)
        limit = min(max(limit, _LEAST_EXACT), MOST_EXACT)
        plan = StatisticsPass(features=chosen, slices=crossed, weight=weight, limit=limit)
        return StatisticsJob(plan=plan, labels=tuple(labels), given=given, destination=destination)

    def run(self, backend: Any, ds: Dataset, splits: Sequence[Any], batch_rows: int) -> TakenStatistics:
        """Returns what a pass over the records finds.

        Raises:
            DataError: for bad data, and when the records read are not those that the manifest counts.
        """
        from transforms.runners import SplitReader
        from transforms.runners.base import check_counts

        reader = SplitReader(schema=ds.schema, columns=self.plan.columns, batch_rows=batch_rows)
        with PassProgress("statistics", ds.num_records, ds.size_bytes, "merging") as progress:
            result = backend.accumulate(self.plan, reader, splits, progress)
        records = check_counts(splits, result.split_rows, ds.num_records)
        return self.finish(result.parts, records)

    def finish(self, parts: Mapping[tuple[int, int], bytes | memoryview], records: int) -> TakenStatistics:
        """Returns what the merged parts say.

        Args:
            parts: of the pass.
            records: that it read.

        Raises:
            DataError: the statistics are of another number of records.
        """
        from transforms.profiling.proto import statistics_proto
        from transforms.profiling.slices import ALL_EXAMPLES
        from transforms.validation.infer import infer_schema

        counts, states = self.plan.finish(parts)
        if counts[ALL_EXAMPLES].rows != records:
            raise DataError(f"the statistics are of {counts[ALL_EXAMPLES].rows} records, the pass read {records}")
        names = [name for name, _ in self.plan.features]
        found = statistics_proto(counts, states, names, self.plan.weight is not None)
        return TakenStatistics(
            statistics=found,
            schema=self.given if self.given is not None else infer_schema(found),
            label_shares={name: _shares(states[ALL_EXAMPLES][names.index(name)]) for name in self.labels},
        )

    @property
    def out(self) -> str | None:
        """Path of the directory of the statistics, or None."""
        return None if self.destination is None else self.destination.path

    def write(self, taken: TakenStatistics) -> str | None:
        """Writes the directory where one is asked for, and returns its path."""
        from transforms.validation.files import write_statistics

        if self.destination is None:
            return None
        shares = {
            name: {**dataclasses.asdict(each), "shares": each.shares} for name, each in taken.label_shares.items()
        }
        write_statistics(self.destination, taken.statistics, taken.schema, shares)
        return self.destination.path


def job_beside(
    graph: Destination,
    ds: Dataset,
    splits: Sequence[Any],
    out: str | os.PathLike[str] | None,
    held_bytes: int,
    *,
    slices: Sequence[Sequence[str] | str] = (),
    weight: str | None = None,
    labels: Sequence[str] = (),
) -> StatisticsJob | None:
    """Returns what of statistics is asked for beside an analysis, None where nothing is.

    Args:
        graph: where the analysis writes.
        ds: see `StatisticsJob.of`, as are all others; without `out`, of the labels alone.
        splits: of the data set.
        out: directory of the statistics, or None.
        held_bytes: what a worker may hold.
        slices: of the statistics.
        weight: column that weighs the records.
        labels: columns whose values' shares are told.

    Raises:
        ConfigError: slices or a weight of nothing; one directory in the other.
    """
    if out is None and (slices or weight):
        raise ConfigError("slices and weight are those of statistics: name a directory for them (stats, --stats)")
    if out is None and not labels:
        return None
    features = labels if out is None else ()
    job = StatisticsJob.of(ds, splits, out, held_bytes, slices=slices, features=features, weight=weight, labels=labels)
    if job.destination is not None:
        # The graph's directory is replaced whole, as is that of the statistics.
        ours, theirs = (os.path.join(os.path.realpath(each.path), "") for each in (job.destination, graph))
        if ours.startswith(theirs) or theirs.startswith(ours):
            raise ConfigError(f"stats: {out} and the graph's {graph.out} lie in one another; give two directories")
    return job


def _shares(state: Any) -> LabelShares:
    found, exact = state.value_counts()
    texts = ((as_text(value) if isinstance(value, bytes) else str(value), count) for value, count in found)
    ranked = sorted(texts, key=lambda each: (-each[1], each[0]))
    return LabelShares(counts=dict(ranked), missing=state.missing, values=state.values, exact=exact)


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
