"""Metrics by segment from whole batches, beside TFMA's own combiners row by row, on the same rows in the same run."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pairs import paired, record_pair

ROWS, SEGMENTS = 30_000, 16


def rows(count: int):
    rng = np.random.default_rng(7)
    predictions = rng.beta(0.5, 0.9, count).astype(np.float32)
    labels = (rng.uniform(size=count) < predictions).astype(np.float64)
    return labels, predictions, np.ones(count, np.float32), rng.integers(0, SEGMENTS, count)


def measured(metrics, count: int) -> list[dict[str, float]]:
    """All rows, then each segment, in batches of 16,384 as `evaluate` adds them."""
    labels, predictions, weights, segments = rows(count)
    states = [metrics.create() for _ in range(SEGMENTS + 1)]
    for start in range(0, count, 16384):
        part = slice(start, start + 16384)
        metrics.update(states[0], labels[part], predictions[part], weights[part])
        for segment in range(SEGMENTS):
            mine = start + np.flatnonzero(segments[part] == segment)
            metrics.update(states[segment + 1], labels[mine], predictions[mine], weights[mine])
    return [metrics.result(state) for state in states]


def test_binary_metrics_by_segment_faster_than_tfma_row_by_row(benchmark):
    from trainers.evaluation.kernels import Kernel
    from trainers.evaluation.metrics import MetricSet, default_metrics

    ours, peer = (MetricSet(default_metrics("binary"), "binary") for _ in range(2))
    peer._kernels = [Kernel(kernel.combiner) for kernel in peer._kernels]
    for mine, theirs in zip(measured(ours, ROWS), measured(peer, ROWS), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)
    result = paired(lambda: measured(ours, ROWS), lambda: measured(peer, ROWS), 3, warm_up=False)
    benchmark.pedantic(lambda: measured(ours, ROWS), rounds=1)
    record_pair(benchmark, result, "TFMA row by row", records=ROWS)
    assert result.ratio_median > 1
