"""A phase of an analysis on its runner, by itself or with statistics of the same records; its counts are reconciled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transforms.passes.progress import PassProgress

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset
    from transforms.statistics_job import StatisticsJob, TakenStatistics

__all__ = ["run_joint_pass", "run_pass"]

_log = logging.getLogger(__name__)


def run_pass(
    backend: Any, plan: Any, ds: Dataset, splits: Sequence[Any], batch_rows: int, number: int
) -> dict[Any, Any]:
    """Returns the merged parts of a phase.

    Args:
        backend: the runner.
        plan: the phase, bound to what earlier ones found.
        ds: `engine.Dataset`.
        splits: of it.
        batch_rows: most records a batch.
        number: of the phase.

    Raises:
        DataError: for bad data, and when the records read are not those that the manifest counts.
    """
    from transforms.runners import FeatureReader

    reader = FeatureReader.of(ds.schema, plan.columns, batch_rows)
    return _accumulated(backend, plan, reader, ds, splits, number)


def run_joint_pass(
    backend: Any, plan: Any, ds: Dataset, splits: Sequence[Any], batch_rows: int, number: int, job: StatisticsJob
) -> tuple[dict[Any, Any], TakenStatistics]:
    """Returns the merged parts of a phase, and the statistics that were taken of the same records.

    Args:
        backend: the runner.
        plan: the phase, bound to what earlier ones found.
        ds: `engine.Dataset`.
        splits: of it.
        batch_rows: most records a batch.
        number: of the phase.
        job: the statistics.

    Raises:
        DataError: for bad data, and when the records read are not those that the manifest counts.
    """
    from transforms.runners.joint import JointPass, JointReader

    columns = tuple(dict.fromkeys([*plan.columns, *job.plan.columns]))
    reader = JointReader(schema=ds.schema, columns=columns, analyzed=plan.columns, batch_rows=batch_rows)
    both = JointPass(analysis=plan, other=job.plan, view=reader.view)
    parts, others = both.parts_of(_accumulated(backend, both, reader, ds, splits, number))
    return parts, job.finish(others, ds.num_records)


def _accumulated(
    backend: Any, plan: Any, reader: Any, ds: Dataset, splits: Sequence[Any], number: int
) -> dict[Any, Any]:
    from transforms.runners.base import check_counts

    with PassProgress(f"analyze, pass {number + 1}", ds.num_records, ds.size_bytes, "merging") as progress:
        _log.info(
            "pass %d: %d records in %d splits, %d columns",
            number + 1,
            ds.num_records,
            len(splits),
            len(reader.columns),
        )
        result = backend.accumulate(plan, reader, splits, progress)
    check_counts(splits, result.split_rows, ds.num_records)
    return dict(result.parts)
