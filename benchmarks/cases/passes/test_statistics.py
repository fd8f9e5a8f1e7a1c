"""Statistics of a data set in one pass, beside polars' lazy aggregates of the same file; and how they grow with rows and distinct values.

The peer gives less: counts, mean, least and greatest, deviation, nine quantiles and the number of distinct values; ours gives
histograms and the most frequent values as well. What both give is compared.
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.data import criteo
from benchmarks.harness.growth import grow
from benchmarks.harness.stages import note_stages
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair
from engine import Dataset, write_batches

pytestmark = pytest.mark.timeout(3600)
ROWS = int(os.environ.get("FULLPASS_BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))


def ours(path: str) -> dict[str, tuple]:
    """(present, mean, least, greatest) of numbers, (present,) of strings."""
    from transforms import statistics

    found = {}
    for feature in statistics(Dataset.open(path)).statistics.datasets[0].features:
        numbers, name = feature.num_stats, feature.path.step[0]
        if feature.HasField("num_stats"):
            found[name] = (numbers.common_stats.num_non_missing, numbers.mean, numbers.min, numbers.max)
        else:
            found[name] = (feature.string_stats.common_stats.num_non_missing,)
    return found


def peer(path: str) -> dict[str, tuple]:
    """The same, by polars."""
    import polars as pl

    table = pl.scan_parquet(path)
    wanted = []
    for name, kind in table.collect_schema().items():
        column = pl.col(name)
        wanted += [column.count().alias(f"{name}.count"), column.n_unique().alias(f"{name}.distinct")]
        if kind.is_numeric():
            wanted += [column.mean().alias(f"{name}.mean"), column.min().alias(f"{name}.min")]
            wanted += [column.max().alias(f"{name}.max"), column.std(ddof=0).alias(f"{name}.deviation")]
            wanted += [column.quantile(tenth / 10).alias(f"{name}.q{tenth}") for tenth in range(1, 10)]
    row = table.select(wanted).collect().row(0, named=True)
    found = {}
    for name, kind in table.collect_schema().items():
        parts = ("count", "mean", "min", "max") if kind.is_numeric() else ("count",)
        found[name] = tuple(row[f"{name}.{part}"] for part in parts)
    return found


def test_statistics_beside_polars(benchmark):
    path = criteo.file("parquet", num_rows=ROWS)
    mine, theirs = ours(path), peer(path)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        assert values == pytest.approx(theirs[name], rel=1e-4), name
    result = paired(lambda: ours(path), lambda: peer(path), ROUNDS, warm_up=False)
    note_stages(benchmark, lambda: ours(path))
    what = "statistics of 40 columns (polars: without histograms and top values)"
    record_pair(benchmark, result, PEERS["polars"].title, ROWS, what=what, package="polars", paths=path)
    benchmark.pedantic(ours, args=(path,), rounds=1)


def test_statistics_by_rows(benchmark):
    def counted(rows: int) -> int:
        return ours(criteo.file("parquet", num_rows=rows))["label"][0]

    grow(benchmark, "row of 40 columns", (1000, 10_000, 100_000), counted, ROUNDS)


def test_statistics_by_distinct_values(benchmark, tmp_path):
    rows = 100_000
    for distinct in (1000, 10_000, 100_000):
        order = np.random.default_rng(3).permutation(np.arange(rows) % distinct)
        batch = pa.RecordBatch.from_arrays([pa.array([b"v%d" % each for each in order.tolist()], pa.binary())], ["c"])
        write_batches([batch], batch.schema, str(tmp_path / f"{distinct}.parquet"), "parquet")

    def distinct_values(distinct: int) -> int:
        from transforms import statistics

        features = statistics(Dataset.open(str(tmp_path / f"{distinct}.parquet"))).statistics.datasets[0].features
        return round(features[0].string_stats.unique / distinct) * distinct

    grow(benchmark, "distinct value among 100,000", (1000, 10_000, 100_000), distinct_values, ROUNDS)
