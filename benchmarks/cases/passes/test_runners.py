"""Embedded Flink and Spark against the local runner on the same rows: within twice its time plus 30 s.

`FULLPASS_BENCH_RUNNER_ROWS` sets the number of rows (2,000,000). The job servers are built as in `tests/support/servers`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.data import criteo
from cluster.benchmarking.pairs import paired
from cluster.benchmarking.passes import vocabularies
from cluster.benchmarking.results import record_pair
from engine import Dataset
from transforms import analyze

ROWS = int(os.environ.get("FULLPASS_BENCH_RUNNER_ROWS", "2000000"))
FIXED_S = 30.0


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_transform as tft

    outputs = {f"I{i}": tft.scale_to_z_score(tf.math.log1p(inputs[f"I{i}"])) for i in range(1, 14)}
    for i in range(1, 27):
        outputs[f"C{i}"] = tft.compute_and_apply_vocabulary(inputs[f"C{i}"], top_k=10_000, vocab_filename=f"C{i}")
    return outputs


def _options(runner: str, directory: Path) -> list[str]:
    from tests.support.servers.beam_jars import flink_job_server_jar
    from tests.support.servers.spark import embedded_spark_jar

    try:
        if runner == "flink":
            return [f"--flink_job_server_jar={flink_job_server_jar()}"]
        return [f"--spark_job_server_jar={embedded_spark_jar(directory)}"]
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no job server here: {error}")


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("runner", ["flink", "spark"])
def test_embedded_runner_against_local(runner: str, benchmark: Any, tmp_path: Path) -> None:
    options = _options(runner, tmp_path)
    data = Dataset.open(criteo.file("parquet", num_rows=ROWS), feature_spec=criteo.feature_spec())

    def run(name: str, runner_options: list[str]) -> None:
        report = analyze(data, preprocessing_fn, str(tmp_path / name), runner=name, runner_options=runner_options)
        assert report.records == ROWS

    result = benchmark.pedantic(
        lambda: paired(lambda: run(runner, options), lambda: run("local", []), rounds=5), rounds=1, iterations=1
    )
    assert vocabularies(tmp_path / runner) == vocabularies(tmp_path / "local") != {}
    record_pair(benchmark, result, "the local runner", ROWS, what=f"analyze on embedded {runner}")
    bound = 2 * result.peer_s + FIXED_S
    benchmark.extra_info["bound_s"] = f"{result.ours_s:.1f} of at most {bound:.1f}"
    assert result.ours_s <= bound
