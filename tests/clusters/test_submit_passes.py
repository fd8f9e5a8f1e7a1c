"""A full pass submitted as a job: the same `fullpass submit --step analyze` against standalone Flink and Spark."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import beam_passes

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 500


def fullpass(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "FULLPASS_STATE_DIR": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cluster.cli.main", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize(
    ("runner", "cluster"),
    [
        pytest.param("flink", "flink_cluster", marks=pytest.mark.flink),
        pytest.param("spark", "spark_cluster", marks=pytest.mark.spark),
    ],
)
def test_submitted_analyze_equals_the_local_pass(runner: str, cluster: str, tmp_path: Path, request: Any) -> None:
    options = request.getfixturevalue(cluster).options()
    data = beam_passes.write_rows(tmp_path / "rows", 20_000)
    module = tmp_path / "features.py"
    module.write_text("from tests.clusters.beam_passes import preprocessing_fn\n")
    words = ["--module", str(module), str(data / "*.parquet")]
    here = fullpass(tmp_path, "analyze", *words, "--out", str(tmp_path / "local"))
    assert here.returncode == 0, here.stderr

    done = fullpass(
        tmp_path,
        "submit",
        *("--name", f"pass-on-{runner}", "--launcher", "local", "--step", "analyze", "--follow", "--"),
        *words,
        *("--out", str(tmp_path / runner), "--runner", runner),
        *(f"--runner-option={option}" for option in options),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert beam_passes.results_of(tmp_path / runner) == beam_passes.results_of(tmp_path / "local")

    state = fullpass(tmp_path, "status", f"pass-on-{runner}")
    assert "succeeded" in state.stdout
