"""Passes on a real Flink 1.19: embedded and standalone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import DataError, Dataset
from tests.clusters import beam_passes
from transforms import analyze, transform

pytestmark = [pytest.mark.flink, pytest.mark.slow]

MAX_TASKS = 30
SPLIT_BYTES = 200_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(str(beam_passes.write_rows(tmp_path_factory.mktemp("rows")) / "*.parquet"))


@pytest.fixture(scope="module")
def local(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = tmp_path_factory.mktemp("local") / "graph"
    analyze(data, beam_passes.preprocessing_fn, str(graph))
    return graph


def jobs(cluster: Any) -> dict[str, Any]:
    return {job["jid"]: cluster.rest(f"/jobs/{job['jid']}") for job in cluster.rest("/jobs/overview")["jobs"]}


def test_embedded_equals_local(data: Dataset, local: Path, embedded_flink: list[str], tmp_path: Path) -> None:
    graph = tmp_path / "graph"
    analyze(
        data,
        beam_passes.preprocessing_fn,
        str(graph),
        runner="flink",
        runner_options=embedded_flink,
        target_split_bytes=SPLIT_BYTES,
    )
    assert beam_passes.results_of(graph) == beam_passes.results_of(local)


def test_standalone_equals_local_in_few_tasks_on_all_slots(
    data: Dataset, local: Path, flink_cluster: Any, tmp_path: Path
) -> None:
    before = set(jobs(flink_cluster))
    graph = tmp_path / "graph"
    report = analyze(
        data,
        beam_passes.preprocessing_fn,
        str(graph),
        runner="flink",
        runner_options=flink_cluster.options(),
        target_split_bytes=SPLIT_BYTES,
    )
    assert report.phases >= 2 and report.records == beam_passes.ROWS
    assert beam_passes.results_of(graph) == beam_passes.results_of(local)
    ran = {jid: job for jid, job in jobs(flink_cluster).items() if jid not in before}
    assert len(ran) == report.phases
    for jid, job in ran.items():
        assert job["state"] == "FINISHED"
        assert sum(vertex["parallelism"] for vertex in job["vertices"]) <= MAX_TASKS
        (reading,) = [vertex for vertex in job["vertices"] if "Accumulate" in vertex["name"]]
        subtasks = flink_cluster.rest(f"/jobs/{jid}/vertices/{reading['id']}")["subtasks"]
        assert len(subtasks) == flink_cluster.slots
        assert all(task["metrics"]["read-records"] > 0 for task in subtasks), "a slot read no split"


def test_standalone_transform_equals_local(data: Dataset, local: Path, flink_cluster: Any, tmp_path: Path) -> None:
    transform(data, str(local), str(tmp_path / "ours"), num_shards=5)
    transform(
        data, str(local), str(tmp_path / "flink"), num_shards=5, runner="flink", runner_options=flink_cluster.options()
    )
    assert beam_passes.rows_of(tmp_path / "flink").equals(beam_passes.rows_of(tmp_path / "ours"))


def test_killed_worker_changes_nothing(data: Dataset, flink_cluster: Any, tmp_path: Path) -> None:
    analyze(data, beam_passes.slow_preprocessing_fn, str(tmp_path / "local"))
    work = tmp_path / "work"
    work.mkdir()
    with beam_passes.killing_a_worker(flink_cluster.task_manager.process.pid, work) as killed:
        analyze(
            data,
            beam_passes.slow_preprocessing_fn,
            str(tmp_path / "graph"),
            runner="flink",
            runner_options=[*flink_cluster.options(), f"--work_dir={work}"],
            target_split_bytes=SPLIT_BYTES,
        )
    assert killed, "no worker was killed: the pass was over too soon"
    assert beam_passes.results_of(tmp_path / "graph") == beam_passes.results_of(tmp_path / "local")


def test_failed_job_leaves_nothing(flink_cluster: Any, tmp_path: Path) -> None:
    rows = beam_passes.write_rows(tmp_path / "rows", 6_000)
    data = Dataset.open(str(rows / "*.parquet"))
    broken = rows / "rows-1.parquet"
    content = bytearray(broken.read_bytes())
    content[12_000:14_000] = bytes(2_000)  # compressed pages, not the footer: only a worker that reads them can know
    broken.write_bytes(content)
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"rows-1\.parquet"):
        analyze(
            data,
            beam_passes.preprocessing_fn,
            str(out / "graph"),
            runner="flink",
            runner_options=flink_cluster.options(),
        )
    assert not out.exists() or not list(out.iterdir())
