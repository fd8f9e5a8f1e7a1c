"""Passes on a real Spark 3.5: embedded and standalone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import Dataset
from tests.clusters import beam_passes

pytestmark = [pytest.mark.spark, pytest.mark.slow]


def finished_tasks(log: Path) -> list[dict[str, Any]]:
    """Returns Spark's own record of the tasks that it ran, by application and stage."""
    events = (json.loads(line) for path in sorted(log.iterdir()) for line in path.read_text().splitlines())
    return [event for event in events if event["Event"] == "SparkListenerTaskEnd"]


def test_embedded_equals_local(rows: Dataset, local: Path, embedded_spark: list[str], tmp_path: Path) -> None:
    beam_passes.check_embedded_analysis("spark", embedded_spark, rows, local, tmp_path)


def test_standalone_equals_local_on_all_cores(rows: Dataset, local: Path, spark_cluster: Any, tmp_path: Path) -> None:
    log = tmp_path / "events"
    log.mkdir()
    options = [
        *spark_cluster.options(),
        "--job_server_jvm_properties=-Dspark.eventLog.enabled=true",
        f"--job_server_jvm_properties=-Dspark.eventLog.dir={log.as_uri()}",
    ]
    report = beam_passes.analyze_on("spark", options, rows, tmp_path / "graph")
    assert report.phases >= 2 and report.records == beam_passes.ROWS
    assert beam_passes.results_of(tmp_path / "graph") == beam_passes.results_of(local)
    tasks = finished_tasks(log)
    assert tasks and all(task["Task End Reason"]["Reason"] == "Success" for task in tasks)
    times = [(task["Task Info"]["Launch Time"], task["Task Info"]["Finish Time"]) for task in tasks]
    together = max(sum(start <= at < end for start, end in times) for at, _ in times)
    assert together == spark_cluster.cores, "the splits were read on one core"


def test_standalone_transform_equals_local(rows: Dataset, local: Path, spark_cluster: Any, tmp_path: Path) -> None:
    beam_passes.check_transform("spark", spark_cluster.options(), rows, local, tmp_path)


def test_standalone_statistics_equal_local(rows: Dataset, spark_cluster: Any) -> None:
    beam_passes.check_statistics("spark", spark_cluster.options(), rows)


def test_standalone_joint_pass_equals_two_local_ones(rows: Dataset, spark_cluster: Any, tmp_path: Path) -> None:
    beam_passes.check_joint_pass("spark", spark_cluster.options(), rows, tmp_path)


def test_standalone_evaluation_equals_local(scored: Any, spark_cluster: Any) -> None:
    scored.check_evaluation("spark", spark_cluster.options())


def test_standalone_predictions_equal_local(scored: Any, spark_cluster: Any, tmp_path: Path) -> None:
    scored.check_predictions("spark", spark_cluster.options(), tmp_path / "out", "parquet")


def test_killed_worker_changes_nothing(rows: Dataset, spark_cluster: Any, tmp_path: Path) -> None:
    server = spark_cluster.pool.process.pid
    beam_passes.check_killed_worker("spark", spark_cluster.options(), server, rows, tmp_path)


def test_failed_job_leaves_nothing(spark_cluster: Any, tmp_path: Path) -> None:
    beam_passes.check_failed_job("spark", spark_cluster.options(), tmp_path)
