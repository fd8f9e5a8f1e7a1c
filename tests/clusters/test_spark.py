"""Passes on a real Spark 3.5: embedded and standalone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import DataError, Dataset
from tests.clusters import beam_passes
from transforms import analyze, transform

pytestmark = [pytest.mark.spark, pytest.mark.slow]

SPLIT_BYTES = 200_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(str(beam_passes.write_rows(tmp_path_factory.mktemp("rows")) / "*.parquet"))


@pytest.fixture(scope="module")
def local(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = tmp_path_factory.mktemp("local") / "graph"
    analyze(data, beam_passes.preprocessing_fn, str(graph))
    return graph


def finished_tasks(log: Path) -> list[dict[str, Any]]:
    """Returns Spark's own record of the tasks that it ran, by application and stage."""
    events = (json.loads(line) for path in sorted(log.iterdir()) for line in path.read_text().splitlines())
    return [event for event in events if event["Event"] == "SparkListenerTaskEnd"]


def test_embedded_equals_local(data: Dataset, local: Path, embedded_spark: list[str], tmp_path: Path) -> None:
    graph = tmp_path / "graph"
    analyze(
        data,
        beam_passes.preprocessing_fn,
        str(graph),
        runner="spark",
        runner_options=embedded_spark,
        target_split_bytes=SPLIT_BYTES,
    )
    assert beam_passes.results_of(graph) == beam_passes.results_of(local)


def test_standalone_equals_local_on_all_cores(data: Dataset, local: Path, spark_cluster: Any, tmp_path: Path) -> None:
    log = tmp_path / "events"
    log.mkdir()
    graph = tmp_path / "graph"
    report = analyze(
        data,
        beam_passes.preprocessing_fn,
        str(graph),
        runner="spark",
        runner_options=[
            *spark_cluster.options(),
            "--job_server_jvm_properties=-Dspark.eventLog.enabled=true",
            f"--job_server_jvm_properties=-Dspark.eventLog.dir={log.as_uri()}",
        ],
        target_split_bytes=SPLIT_BYTES,
    )
    assert report.phases >= 2 and report.records == beam_passes.ROWS
    assert beam_passes.results_of(graph) == beam_passes.results_of(local)
    tasks = finished_tasks(log)
    assert tasks and all(task["Task End Reason"]["Reason"] == "Success" for task in tasks)
    times = [(task["Task Info"]["Launch Time"], task["Task Info"]["Finish Time"]) for task in tasks]
    together = max(sum(start <= at < end for start, end in times) for at, _ in times)
    assert together == spark_cluster.cores, "the splits were read on one core"


def test_standalone_transform_equals_local(data: Dataset, local: Path, spark_cluster: Any, tmp_path: Path) -> None:
    transform(data, str(local), str(tmp_path / "ours"), num_shards=5)
    transform(
        data, str(local), str(tmp_path / "spark"), num_shards=5, runner="spark", runner_options=spark_cluster.options()
    )
    assert beam_passes.rows_of(tmp_path / "spark").equals(beam_passes.rows_of(tmp_path / "ours"))


def test_killed_worker_changes_nothing(data: Dataset, spark_cluster: Any, tmp_path: Path) -> None:
    analyze(data, beam_passes.slow_preprocessing_fn, str(tmp_path / "local"))
    work = tmp_path / "work"
    work.mkdir()
    with beam_passes.killing_a_worker(spark_cluster.pool.process.pid, work) as killed:
        analyze(
            data,
            beam_passes.slow_preprocessing_fn,
            str(tmp_path / "graph"),
            runner="spark",
            runner_options=[*spark_cluster.options(), f"--work_dir={work}"],
            target_split_bytes=SPLIT_BYTES,
        )
    assert killed, "no worker was killed: the pass was over too soon"
    assert beam_passes.results_of(tmp_path / "graph") == beam_passes.results_of(tmp_path / "local")


def test_failed_job_leaves_nothing(spark_cluster: Any, tmp_path: Path) -> None:
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
            runner="spark",
            runner_options=spark_cluster.options(),
        )
    assert not out.exists() or not list(out.iterdir())
