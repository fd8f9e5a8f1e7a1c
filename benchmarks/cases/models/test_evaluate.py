"""Metrics by segment from whole batches, beside TFMA's own combiners row by row, on the same rows in the same run."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair

ROWS, SEGMENTS = 30_000, 16


def rows(count: int):
    rng = np.random.default_rng(7)
    predictions = rng.beta(0.5, 0.9, count).astype(np.float32)
    labels = (rng.uniform(size=count) < predictions).astype(np.float64)
    return labels, predictions, np.ones(count, np.float32), rng.integers(0, SEGMENTS, count)


def ours(count: int, intervals: str = "none") -> list[dict[str, float]]:
    """All rows, then each segment, in batches of 16,384 as `evaluate` adds them."""
    from trainers.evaluation.accumulators.metric_table import Intervals, MetricTable
    from trainers.evaluation.metrics import default_metrics, own_results

    labels, predictions, weights, segments = rows(count)
    names, _ = own_results(default_metrics("binary"), "binary")
    found = []
    for groups, size in ((np.zeros(count, np.int64), 1), (segments, SEGMENTS)):
        table = MetricTable("binary", Intervals(intervals))
        for start in range(0, count, 16384):
            part = slice(start, start + 16384)
            ids = start + np.arange(len(labels[part]))
            values = (labels[part], predictions[part].astype(np.float64), weights[part].astype(np.float64))
            table.update(groups[part], *values, ids)
        results, _ = table.results(size), table.half_widths(size)
        found += [{name: float(results[name][group]) for name in names} for group in range(size)]
    return found


def peer(count: int) -> list[dict[str, float]]:
    """The same with TFMA's combiners, a row at a time."""
    from trainers.evaluation.metrics import default_metrics
    from trainers.evaluation.tfma.kernels import MetricSet

    metrics = MetricSet(default_metrics("binary"))
    labels, predictions, weights, segments = rows(count)
    out = []
    for mine in (np.ones(count, bool), *(segments == segment for segment in range(SEGMENTS))):
        state = metrics.create()
        metrics.update(state, labels[mine], predictions[mine], weights[mine])
        out.append(metrics.result(state))
    return out


def test_binary_metrics_by_segment_faster_than_tfma_row_by_row(benchmark):
    for mine, theirs in zip(ours(ROWS), peer(ROWS), strict=True):
        assert mine == pytest.approx({name: theirs[name] for name in mine}, rel=2e-4)
    result = paired(lambda: ours(ROWS), lambda: peer(ROWS), 5, warm_up=False)
    benchmark.pedantic(lambda: ours(ROWS), rounds=1)
    record_pair(
        benchmark,
        result,
        PEERS["tfma"].title,
        ROWS,
        what="nine metrics by segment",
        package=PEERS["tfma"].package,
        headline=True,
    )


@pytest.mark.full
@pytest.mark.parametrize("intervals", ["none", "jackknife", "bootstrap"])
@pytest.mark.parametrize("count", [300_000, 3_000_000])
def test_growth_with_rows_and_cost_of_intervals(benchmark, count, intervals):
    benchmark.pedantic(lambda: ours(count, intervals), rounds=1)
    benchmark.extra_info["records_per_s"] = round(count / benchmark.stats["mean"])
