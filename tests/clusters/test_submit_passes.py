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


@pytest.fixture(scope="module")
def local_pass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows, the user's module and what this machine's pass makes of them."""
    folder = tmp_path_factory.mktemp("local-pass")
    beam_passes.write_rows(folder / "rows", 20_000)
    (folder / "features.py").write_text("from tests.clusters.beam_passes import preprocessing_fn\n")
    here = fullpass(folder, "analyze", *words(folder), "--out", str(folder / "local"))
    assert here.returncode == 0, here.stderr
    return folder


def words(folder: Path) -> list[str]:
    return ["--module", str(folder / "features.py"), str(folder / "rows" / "*.parquet")]


@pytest.mark.parametrize(
    ("runner", "cluster"),
    [
        pytest.param("flink", "flink_cluster", marks=pytest.mark.flink),
        pytest.param("spark", "spark_cluster", marks=pytest.mark.spark),
    ],
)
def test_submitted_analyze_equals_the_local_pass(
    runner: str, cluster: str, local_pass: Path, tmp_path: Path, request: Any
) -> None:
    options = request.getfixturevalue(cluster).options()
    done = fullpass(
        tmp_path,
        "submit",
        *("--name", f"pass-on-{runner}", "--launcher", "local", "--step", "analyze", "--follow", "--"),
        *words(local_pass),
        *("--out", str(tmp_path / runner), "--runner", runner),
        *(f"--runner-option={option}" for option in options),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert beam_passes.results_of(tmp_path / runner) == beam_passes.results_of(local_pass / "local")

    state = fullpass(tmp_path, "status", f"pass-on-{runner}")
    assert "succeeded" in state.stdout
