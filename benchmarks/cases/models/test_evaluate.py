"""Metrics by segment from whole batches, beside TFMA's own combiners row by row, on the same rows in the same run; whole evaluations.

FULLPASS_BENCH_EVALUATE_ROWS (300,000) sets the rows of a whole evaluation, which is also made of ten times as many, and
FULLPASS_BENCH_ROUNDS (3) how often.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.harness.growth import grow
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.results import record_pair

ROWS, PEER_ROWS, SEGMENTS = 30_000, 5_000, 16


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
    for mine, theirs in zip(ours(PEER_ROWS), peer(PEER_ROWS), strict=True):
        assert mine == pytest.approx({name: theirs[name] for name in mine}, rel=2e-4)
    sizes = {"ours_size": ROWS, "peer_size": PEER_ROWS}
    result = paired(lambda: ours(ROWS), lambda: peer(PEER_ROWS), 5, warm_up=False, **sizes)
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


SLICES = 20


def predicted(count: int):
    """Predictions with their labels and segments, as TFMA takes them: a table."""
    import pandas as pd

    labels, predictions, _, _ = rows(count)
    segments = np.random.default_rng(9).integers(0, SLICES, count)
    return pd.DataFrame({"label": labels, "prediction": predictions, "segment": [f"s{each}" for each in segments]})


def ours_of_predictions(table) -> dict[str, dict[str, float]]:
    """What `evaluate` does with a model's answers: segments found and counted, metrics of all rows and of each."""
    import pyarrow as pa

    from trainers.evaluation.accumulators.metric_table import MetricTable
    from trainers.evaluation.segments.segments import SegmentCodes

    names = ("auc", "binary_crossentropy", "binary_accuracy")
    kinds = [(SegmentCodes(columns), MetricTable("binary", names=names)) for columns in ((), ("segment",))]
    batches = pa.Table.from_pandas(table).to_batches(max_chunksize=16384)
    done = 0
    for batch in batches:
        labels, predictions = (batch.column(name).to_numpy().astype(np.float64) for name in ("label", "prediction"))
        ids, ones = done + np.arange(batch.num_rows), np.ones(batch.num_rows)
        for codes, metrics in kinds:
            metrics.update(codes.of(batch), labels, predictions, ones, ids)
        done += batch.num_rows
    found = {}
    for codes, metrics in kinds:
        results = metrics.results(len(codes.values))
        for index, value in enumerate(codes.values):
            found[value[0] if value else ""] = {name: float(results[name][index]) for name in names}
    return found


def tfma_of_predictions(table) -> dict[str, dict[str, float]]:
    """The same by TFMA's own entry for predictions."""
    import tensorflow_model_analysis as tfma
    from google.protobuf import text_format
    from tensorflow_model_analysis.proto import config_pb2

    config = text_format.Parse(
        """
        model_specs { label_key: "label" prediction_key: "prediction" }
        slicing_specs {}
        slicing_specs { feature_keys: ["segment"] }
        metrics_specs {
          metrics { class_name: "AUC" } metrics { class_name: "BinaryCrossEntropy" } metrics { class_name: "BinaryAccuracy" }
        }
        """,
        config_pb2.EvalConfig(),
    )
    result = tfma.analyze_raw_data(table, config)
    found = {}
    for key, metrics in result.slicing_metrics:
        values = {name: value["doubleValue"] for name, value in metrics[""][""].items()}
        found[key[0][1] if key else ""] = values
    return found


def beside_tfmas_run(benchmark, count: int, rounds: int) -> None:
    """Measures metrics of predictions beside TFMA's own entry for them, and holds them to its."""
    table = predicted(count)
    mine, theirs = ours_of_predictions(table), {}
    result = paired(
        lambda: ours_of_predictions(table), lambda: theirs.update(tfma_of_predictions(table)), rounds, warm_up=False
    )
    assert mine.keys() == theirs.keys() and len(mine) == SLICES + 1
    for segment, metrics in mine.items():
        for name in ("binary_crossentropy", "binary_accuracy"):
            assert metrics[name] == pytest.approx(theirs[segment][name], rel=1e-5), (segment, name)
        # TFMA's lies between 10,000 thresholds: a segment of 100 rows has few of them.
        assert metrics["auc"] == pytest.approx(theirs[segment]["auc"], abs=1e-3), segment
    benchmark.pedantic(lambda: ours_of_predictions(table), rounds=1)
    record_pair(
        benchmark,
        result,
        PEERS["tfma run"].title,
        count,
        what=f"three metrics of {count:,} predictions, 20 slices",
        package=PEERS["tfma run"].package,
        cold=True,
    )


@pytest.mark.full  # each of TFMA's runs takes long, however few the rows
@pytest.mark.timeout(7200)
def test_metrics_of_predictions_by_segment_faster_than_tfmas_own_run(benchmark):
    beside_tfmas_run(benchmark, 2_000, 5)


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_metrics_of_larger_predictions_by_segment_faster_than_tfmas_own_run(benchmark):
    beside_tfmas_run(benchmark, 100_000, 5)


@pytest.mark.full
@pytest.mark.parametrize("intervals", ["none", "jackknife", "bootstrap"])
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("count", [300_000, 3_000_000])
def test_growth_with_rows_and_cost_of_intervals(benchmark, count, intervals):
    benchmark.pedantic(lambda: ours(count, intervals), rounds=1)
    benchmark.extra_info["records_per_s"] = round(count / benchmark.stats["mean"])


SIZE = int(os.environ.get("FULLPASS_BENCH_EVALUATE_ROWS", "300000"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An exported model of flights with its transform graph, and the directories of `SIZE` and of ten times as many raw rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.support.flights import LABEL, flights_table, make_flights
    from trainers.export.export import export_saved_model

    folder = tmp_path_factory.mktemp("flights")
    made = make_flights(folder)
    export_saved_model(
        made.model, folder / "models", transform_graph=made.graph, raw_feature_spec=made.spec, label=LABEL
    )
    table = flights_table(min(SIZE, 300_000))
    rng = np.random.default_rng(11)
    for times in (1, 10):
        out = folder / f"rows-{times * SIZE}"
        out.mkdir()
        for part in range(times):
            drawn = table.take(pa.array(rng.permutation(SIZE) % table.num_rows))
            segments = pa.array(rng.integers(0, SLICES, SIZE))
            pq.write_table(drawn.append_column("segment", segments), out / f"{part:02d}.parquet", row_group_size=16384)
    return folder


@pytest.mark.full
@pytest.mark.parametrize("intervals", ["jackknife", "bootstrap"])
@pytest.mark.timeout(7200)
def test_whole_evaluation_of_nine_metrics_in_20_segments(benchmark, trained, intervals):
    from tests.support.flights import LABEL
    from trainers.evaluation.evaluate import evaluate
    from trainers.evaluation.metrics import default_metrics

    def evaluated(rows: int) -> int:
        result = evaluate(
            trained / "models",
            trained / f"rows-{rows}",
            LABEL,
            slices=["segment"],
            metrics=default_metrics("binary"),
            intervals=intervals,
        )
        assert len(result.slices) == SLICES and len(result.overall) == 10  # nine, and the number of rows
        assert all(np.isfinite(each.half_widths["auc"]) for each in result.slices)
        return result.rows

    grow(benchmark, "row", (SIZE, 10 * SIZE), evaluated, int(os.environ.get("FULLPASS_BENCH_ROUNDS", "3")))
