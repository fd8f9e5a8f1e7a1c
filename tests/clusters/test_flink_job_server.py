"""All passes of a process on Flink share one job server, and outlive it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from engine import Dataset
from tests.clusters import beam_passes
from transforms import analyze

pytestmark = [pytest.mark.flink, pytest.mark.timeout(600)]


def job_servers() -> list[int]:
    """Process ids of the Java job servers that this process started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # gone meanwhile
                continue
            if parent == os.getpid() and b"--flink-master" in words:
                found.append(int(entry.name))
    return found


def files(graph: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((graph / "transform_fn" / "assets").iterdir())}


def test_passes_share_a_job_server_and_a_killed_one_is_replaced(
    rows: Dataset, local: Path, embedded_flink: list[str], tmp_path: Path
) -> None:
    before = set(job_servers())

    def run(name: str) -> set[int]:
        options = [*embedded_flink, "--flink_master=[local]", "--parallelism=2"]
        analyze(rows, beam_passes.brief_preprocessing_fn, tmp_path / name, runner="flink", runner_options=options)
        assert files(tmp_path / name) == {"vocabulary_0": files(local)["vocabulary_0"]}
        return set(job_servers()) - before

    (first,) = run("first")
    assert run("second") == {first}
    os.kill(first, signal.SIGKILL)
    (third,) = run("third")
    assert third != first
