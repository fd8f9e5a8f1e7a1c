"""`analyze`: full passes over a data set, and the transform graph that comes of them."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError
from engine.machine.processes import processors
from engine.storage.destination import Destination
from engine.storage.uris import require_local
from transforms.batches.batch_cutter import DEFAULT_MEMORY, memory_bytes, reader_rows
from transforms.output.provenance import write_provenance
from transforms.phase_runs import run_joint_pass, run_pass
from transforms.statistics_job import LabelShares, StatisticsJob, TakenStatistics, job_beside

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["AnalyzeReport", "analyze", "parts_for", "split_bytes"]

_log = logging.getLogger(__name__)
GRAPH_MARK = "transform_fn/saved_model.pb"
_TFT_BATCH_ROWS = 1024  # what TFT's own sources give


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalyzeReport:
    """What an analysis did.

    Attributes:
        path: directory of the transform graph.
        records: in the data set; each pass read every one exactly once.
        phases: number of passes over the data.
        analyzers: number of analyzers.
        seconds: wall time.
        fallback: why TFT's own implementation ran instead, or None.
        records_read: over all passes, where `spans` kept the rest; else None.
        stats: directory of the statistics that were taken in the same pass, or None.
        label_shares: how often each value of a label occurs, by column.
    """

    path: str
    records: int
    phases: int
    analyzers: int
    seconds: float
    fallback: str | None = None
    records_read: int | None = None
    stats: str | None = None
    label_shares: Mapping[str, LabelShares] = dataclasses.field(default_factory=dict)


def analyze(
    ds: Dataset,
    preprocessing_fn: Callable[..., Any],
    out: str | os.PathLike[str],
    runner: Any = "local",
    runner_options: Sequence[str] = (),
    *,
    custom_config: Mapping[str, Any] | None = None,
    spans: str | os.PathLike[str] | None = None,
    stats: str | os.PathLike[str] | None = None,
    slices: Sequence[Sequence[str] | str] = (),
    weight: str | None = None,
    labels: Sequence[str] = (),
    batch_rows: int = 131072,
    memory: int | str = DEFAULT_MEMORY,
    target_split_bytes: int | None = None,
    hints: Sequence[str] = (),
) -> AnalyzeReport:
    """Returns a report after writing the transform graph of a preprocessing_fn, as `tft.TFTransformOutput` reads it.

    Args:
        ds: `engine.Dataset`.
        preprocessing_fn: as TensorFlow Transform takes it, unchanged; or as TFX does, with a second argument `custom_config`.
        out: directory to write, local or a URI; it appears whole or not at all.
        runner: "local", "flink", "spark" or the name of a Beam runner.
        runner_options: options of the runner.
        custom_config: what a preprocessing_fn(inputs, custom_config) gets.
        spans: local directory that keeps what each span of growing data contributed, so that the next analysis reads only spans that
            are new or changed; see `transforms.cache.spans_of` for what a span is. None keeps nothing.
        stats: directory for statistics of all columns, as `statistics` writes it: they are taken in the first pass, of the same
            records. None writes none.
        slices: of the statistics, as `statistics` takes them.
        weight: column that weighs the records of the statistics.
        labels: columns whose values' shares are told, taken in the first pass too.
        batch_rows: most records a batch; large records come in smaller ones.
        memory: what a worker may hold, in bytes or as "2Gi": batches are cut so that the graph stays within it.
        target_split_bytes: size of a split; None chooses one.
        hints: facts on the data that may explain a failure in TensorFlow.

    Raises:
        ConfigError: for a preprocessing_fn or runner that cannot work; it names the line of the user's file.
        DataError: for bad data, and when the records read are not those that the manifest counts.
    """
    from engine.machine.garbage import collect_grown
    from transforms.cache import CachingRunner, spans_of
    from transforms.runners import make_runner
    from transforms.tracing.user_errors import graph_errors
    from transforms.tracing.user_function import UserFunction

    held_bytes = memory_bytes(memory)
    rows = reader_rows(batch_rows, ds.size_bytes, ds.num_records, held_bytes)
    destination = Destination(out, GRAPH_MARK)
    destination.check(ds.paths)
    chosen = make_runner(runner, runner_options)
    splits = ds.splits(target_split_bytes or split_bytes(ds))
    job = job_beside(destination, ds, splits, stats, held_bytes, slices=slices, weight=weight, labels=labels)
    caching: CachingRunner | None = None
    if job is not None and (spans is not None or isinstance(chosen, CachingRunner)):
        raise ConfigError("spans: what is kept of a span is of analyzers alone; leave stats and labels out, or spans")
    if spans is not None:
        caching = CachingRunner(chosen, require_local("spans", spans), spans_of(ds.paths))
    function = UserFunction(preprocessing_fn, custom_config)
    with graph_errors(function.lines, function.name, hints):
        report, taken = _analyze(ds, splits, function, destination, caching or chosen, rows, held_bytes, job)
    collect_grown()  # the traced graph
    if hasattr(ds, "manifest"):  # data in memory have none
        write_provenance(destination.path, ds.manifest)
    if job is not None and taken is not None:
        report = dataclasses.replace(report, stats=_write_statistics(job, taken), label_shares=taken.label_shares)
    return report if caching is None else dataclasses.replace(report, records_read=caching.records_read)


def _analyze(
    ds: Dataset,
    splits: Sequence[Any],
    function: Any,
    destination: Destination,
    backend: Any,
    rows: int,
    held_bytes: int,
    job: StatisticsJob | None,
) -> tuple[AnalyzeReport, TakenStatistics | None]:
    from engine.machine.garbage import Frozen, pause_collection
    from transforms.batches.features import LayoutSource
    from transforms.batches.layouts import layouts_of, type_specs_of
    from transforms.output.transform_graph import write_transform_output
    from transforms.passes.phase_saved_model import replacements, write_phase_model
    from transforms.passes.phases import plan_phases
    from transforms.planning.plan import unsupported_operations
    from transforms.tracing.trace import trace

    start = time.perf_counter()
    feature_spec = ds.feature_spec()
    parent = getattr(backend, "work_dir", None)
    with tempfile.TemporaryDirectory(prefix="fullpass-analyze-", dir=parent) as temp_dir, Frozen() as frozen:
        with pause_collection():
            traced = trace(function, type_specs_of(feature_spec), temp_dir)
            unsupported = unsupported_operations(traced)
            plans = [] if unsupported else plan_phases(traced, LayoutSource(layouts_of(feature_spec)))
            frozen.freeze()  # the collector would look through the whole graph in the middle of the pass, and all threads wait
        if unsupported:
            reason = "; ".join(f"{each.label}: {each.reason}" for each in unsupported)
            _analyze_with_tft(ds, splits, function, destination, backend, reason)
            alone = None if job is None else job.run(backend, ds, splits, rows)  # TFT reads by itself
            return _report(destination.path, ds.num_records, 0, len(unsupported), start, reason), alone
        bindings = [binding for plan in plans for binding in plan.evaluation.bindings]
        assets = os.path.join(temp_dir, "assets")
        os.mkdir(assets)
        values: dict[str, Any] = {}
        taken: TakenStatistics | None = None
        wanted = parts_for(ds, backend)
        for plan in plans:
            for analyzer in plan.analyzers:
                analyzer.accumulator.num_parts = min(analyzer.accumulator.num_parts, wanted)
            model = None
            if plan.needs_saved_model:
                known = replacements(values, bindings)
                model = write_phase_model(function, traced.specs, temp_dir, known, plan.fetches, plan.number)
            bound = dataclasses.replace(plan.bind(values, model), memory_bytes=held_bytes)
            parts: dict[Any, Any] = {}
            if plan.analyzers and job is not None and taken is None:
                parts, taken = run_joint_pass(backend, bound, ds, splits, rows, plan.number, job)
            elif plan.analyzers:
                parts = run_pass(backend, bound, ds, splits, rows, plan.number)
            values.update(plan.evaluation.run(bound.finish(parts), assets, traced.graph))
        if job is not None and taken is None:  # there was no pass to take them in
            taken = job.run(backend, ds, splits, rows)
        write_transform_output(
            traced, replacements(values, bindings), destination, functools.partial(_sample, ds, splits)
        )
    analyzers = sum(len(plan.analyzers) for plan in plans)
    return _report(destination.path, ds.num_records, len(plans), analyzers, start, None), taken


def _write_statistics(job: StatisticsJob, taken: TakenStatistics) -> str | None:
    try:
        return job.write(taken)
    except BaseException:
        # The graph is whole and new; whoever sees it may take what lies in the other directory for its statistics.
        _log.error("the graph is written, its statistics are not: what %s held before is there still", job.out)
        raise


def _analyze_with_tft(
    ds: Dataset, splits: Sequence[Any], function: Any, destination: Destination, backend: Any, reason: str
) -> None:
    from transforms.batches.layouts import columns_of, layouts_of
    from transforms.fallback import analyze_with_tft
    from transforms.runners import FeatureReader

    _log.warning("TensorFlow Transform's own analysis runs: %s", reason)
    feature_spec = ds.feature_spec()
    reader = FeatureReader.of(ds.schema, columns_of(layouts_of(feature_spec)), _TFT_BATCH_ROWS)
    analyze_with_tft(feature_spec, function, destination, backend, reader, splits, ds.num_records)


def _sample(ds: Dataset, splits: Sequence[Any]) -> Any:
    """Returns the first records as tensors by feature with their number, or None where there is none."""
    import tensorflow as tf

    from transforms.batches.layouts import columns_of, layouts_of
    from transforms.output.row_check import SAMPLE_ROWS
    from transforms.passes.transformation import tensor_of
    from transforms.runners import FeatureReader

    layouts = layouts_of(ds.feature_spec())
    reader = FeatureReader.of(ds.schema, columns_of(layouts), SAMPLE_ROWS)
    batches = (batch for split in splits for batch in reader.read(split))
    batch = next((each.slice(0, SAMPLE_ROWS) for each in batches if each.num_rows), None)
    if batch is None:
        return None
    return {name: tensor_of(tf, batch, layout) for name, layout in layouts.items()}, batch.num_rows


def _report(out: str, records: int, phases: int, analyzers: int, start: float, fallback: str | None) -> AnalyzeReport:
    return AnalyzeReport(
        path=out,
        records=records,
        phases=phases,
        analyzers=analyzers,
        seconds=time.perf_counter() - start,
        fallback=fallback,
    )


def parts_for(ds: Dataset, backend: Any) -> int:
    """Returns the hash partitions of a state: one for every 256 MiB of data, since each costs its share of work for every split."""
    workers = getattr(backend, "num_workers", None) or processors()
    return int(max(1, min(ds.size_bytes >> 28, 4 * workers))) if getattr(backend, "name", "") == "local" else 1 << 30


def split_bytes(ds: Dataset) -> int:
    """Returns a size of splits: 64 of them, between 8 and 64 MiB each; the same for any number of workers, as results are."""
    return min(max(ds.size_bytes // 64, 8 << 20), 64 << 20)
