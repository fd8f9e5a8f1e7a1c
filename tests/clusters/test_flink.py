"""Passes on a real Flink 1.19: embedded and standalone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import Dataset
from tests.clusters import beam_passes

pytestmark = [pytest.mark.flink, pytest.mark.slow]

MAX_TASKS = 30


def jobs(cluster: Any) -> dict[str, Any]:
    return {job["jid"]: cluster.rest(f"/jobs/{job['jid']}") for job in cluster.rest("/jobs/overview")["jobs"]}


def test_embedded_equals_local(rows: Dataset, local: Path, embedded_flink: list[str], tmp_path: Path) -> None:
    beam_passes.check_embedded_analysis("flink", embedded_flink, rows, local, tmp_path)


def test_standalone_equals_local_in_few_tasks_on_all_slots(
    rows: Dataset, local: Path, flink_cluster: Any, tmp_path: Path
) -> None:
    before = set(jobs(flink_cluster))
    report = beam_passes.analyze_on("flink", flink_cluster.options(), rows, tmp_path / "graph")
    assert report.phases >= 2 and report.records == beam_passes.ROWS
    assert beam_passes.results_of(tmp_path / "graph") == beam_passes.results_of(local)
    ran = {jid: job for jid, job in jobs(flink_cluster).items() if jid not in before}
    assert len(ran) == report.phases
    for jid, job in ran.items():
        assert job["state"] == "FINISHED"
        assert sum(vertex["parallelism"] for vertex in job["vertices"]) <= MAX_TASKS
        (reading,) = [vertex for vertex in job["vertices"] if "Accumulate" in vertex["name"]]
        subtasks = flink_cluster.rest(f"/jobs/{jid}/vertices/{reading['id']}")["subtasks"]
        assert len(subtasks) == flink_cluster.slots
        assert all(task["metrics"]["read-records"] > 0 for task in subtasks), "a slot read no split"


def test_standalone_transform_equals_local(rows: Dataset, local: Path, flink_cluster: Any, tmp_path: Path) -> None:
    beam_passes.check_transform("flink", flink_cluster.options(), rows, local, tmp_path)


def test_standalone_statistics_equal_local(rows: Dataset, flink_cluster: Any) -> None:
    beam_passes.check_statistics("flink", flink_cluster.options(), rows)


def test_standalone_joint_pass_equals_two_local_ones(rows: Dataset, flink_cluster: Any, tmp_path: Path) -> None:
    beam_passes.check_joint_pass("flink", flink_cluster.options(), rows, tmp_path)


def test_standalone_evaluation_equals_local(scored: Any, flink_cluster: Any) -> None:
    scored.check_evaluation("flink", flink_cluster.options())


def test_standalone_predictions_equal_local(scored: Any, flink_cluster: Any, tmp_path: Path) -> None:
    scored.check_predictions("flink", flink_cluster.options(), tmp_path / "out", "tfrecord")


def test_killed_worker_changes_nothing(rows: Dataset, flink_cluster: Any, tmp_path: Path) -> None:
    server = flink_cluster.task_manager.process.pid
    beam_passes.check_killed_worker("flink", flink_cluster.options(), server, rows, tmp_path)


def test_failed_job_leaves_nothing(flink_cluster: Any, tmp_path: Path) -> None:
    beam_passes.check_failed_job("flink", flink_cluster.options(), tmp_path)
