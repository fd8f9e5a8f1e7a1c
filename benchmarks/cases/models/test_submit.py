"""What `fullpass submit --dry-run` costs: a process of its own, from the command line to the manifests of 1, 10 and 100 workers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from benchmarks.harness.growth import grow

pytestmark = pytest.mark.timeout(3600)
ROUNDS = int(os.environ.get("FULLPASS_BENCH_ROUNDS", "5"))


def workers_of(workers: int) -> int:
    """Returns how many workers the manifests of a job ask for."""
    words = ["submit", "--name", "bench", "--workers", str(workers), "--image", "example/train:1"]
    command = [
        sys.executable,
        "-m",
        "cluster.cli.main",
        *words,
        "--launcher",
        "kubernetes",
        "--dry-run",
        "--command",
        "--",
        "python",
        "train.py",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    jobs = [each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "Job"]
    return int(jobs[0]["spec"]["completions"])


def test_submit_dry_run_by_workers(benchmark):
    grow(benchmark, "worker", (1, 10, 100), workers_of, ROUNDS)
