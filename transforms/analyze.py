"""`analyze`: full passes over a data set, and the transform graph that comes of them."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.progress import Progress

__all__ = ["AnalyzeReport", "analyze", "split_bytes"]

_log = logging.getLogger(__name__)


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
    """

    path: str
    records: int
    phases: int
    analyzers: int
    seconds: float
    fallback: str | None = None


def analyze(
    ds: Any,
    preprocessing_fn: Callable[..., Any],
    out: str,
    runner: Any = "local",
    runner_options: Sequence[str] = (),
    *,
    batch_rows: int = 65536,
    targetsplit_bytes: int | None = None,
) -> AnalyzeReport:
    """Returns a report after writing the transform graph of a preprocessing_fn, as `tft.TFTransformOutput` reads it.

    Args:
        ds: `engine.Dataset`.
        preprocessing_fn: as TensorFlow Transform takes it, unchanged.
        out: directory to write; it appears whole or not at all.
        runner: "local", "flink", "spark" or the name of a Beam runner.
        runner_options: options of the runner.
        batch_rows: records a batch.
        targetsplit_bytes: size of a split; None chooses one.

    Raises:
        ConfigError: for a preprocessing_fn or runner that cannot work.
        DataError: for bad data, and when the records read are not those that the manifest counts.
    """
    from engine.schema import tensorflow_schema
    from transforms.analyzing import Analysis
    from transforms.layouts import layouts_of, type_specs_of
    from transforms.planning import unsupported_operations
    from transforms.runners import SplitReader, make_runner
    from transforms.runners.base import check_counts
    from transforms.tracing import trace
    from transforms.writing import write_transform_output

    start = time.perf_counter()
    backend = make_runner(runner, runner_options)
    feature_spec = ds.feature_spec()
    with tempfile.TemporaryDirectory(prefix="fullpass-analyze-") as temp_dir:
        traced = trace(preprocessing_fn, type_specs_of(feature_spec), temp_dir)
        unsupported = unsupported_operations(traced)
        if unsupported:
            raise NotImplementedError(unsupported)
        analysis = Analysis(traced, layouts_of(feature_spec))
        splits = ds.splits(targetsplit_bytes or split_bytes(ds))
        count = 0
        while not analysis.done:
            phase, plan = analysis.next_phase()
            count += len(phase.analyzers)
            parts: dict[tuple[int, int], bytes] = {}
            if plan.analyzers:
                reader = SplitReader(schema=tensorflow_schema(ds.schema), columns=plan.columns, batch_rows=batch_rows)
                with Progress(f"analyze, pass {phase.number + 1}", ds.num_records, "rows") as progress:
                    result = backend.accumulate(plan, reader, splits, progress)
                check_counts(splits, result.split_rows, ds.num_records)
                parts = dict(result.parts)
            analysis.complete(phase, plan.finish(parts))
        write_transform_output(analysis, out)
    return AnalyzeReport(
        path=str(out),
        records=ds.num_records,
        phases=analysis.phase,
        analyzers=count,
        seconds=time.perf_counter() - start,
    )


def split_bytes(ds: Any) -> int:
    """Returns a size of splits: about four splits a core, between 4 and 64 MiB each."""
    total = sum(os.path.getsize(path) for path in ds.paths if os.path.exists(path))
    return min(max(total // (4 * (os.cpu_count() or 1)), 4 << 20), 64 << 20)
