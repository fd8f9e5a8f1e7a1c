"""Benchmarks of a user who has installed Fullpass: no checkout, no git, fixtures and hooks of their own beside ours."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("pybind11", reason="pybind11 is not installed: setup.py needs it")
pytest.importorskip("wheel", reason="wheel is not installed: pip install wheel")

ROOT = Path(__file__).parents[3]
PACKAGES = ("engine", "transforms", "trainers", "cluster")
CONFTEST = """
import pytest

pytest_plugins = ["cluster.benchmarking.plugin"]

@pytest.fixture
def mine():
    return "mine"

def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["rack"] = "b"
"""
BENCHMARKS = """
def read(ds):
    return sum(batch.num_rows for batch in ds.read_batches())

def test_read(fullpass_dataset, throughput, mine):
    throughput(lambda: read(fullpass_dataset), dataset=fullpass_dataset, rounds=2)

def test_pair(fullpass_dataset, throughput):
    again = lambda: read(fullpass_dataset)
    throughput(again, dataset=fullpass_dataset, peer=again, peer_name="again", rounds=2)
"""


@pytest.fixture
def installed(tmp_path):
    """A directory with the contents of a wheel, whose extensions are those that are built here."""
    source, built = tmp_path / "source", tmp_path / "source" / "build" / "lib"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    words = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(built)]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    for package in PACKAGES:
        for extension in (ROOT / package).glob("_*.so"):
            shutil.copy(extension, built / package)
    words = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(built), "bdist_wheel", "--skip-build"]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").glob("fullpass-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    shutil.rmtree(source)
    return tmp_path / "site"


def test_users_measure_their_data_with_an_installed_wheel(installed, tmp_path):
    folder = tmp_path / "user"
    folder.mkdir()
    pq.write_table(pa.table({"x": list(range(500))}), folder / "rows.parquet")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_mine.py").write_text(BENCHMARKS)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "FULLPASS"))}
    env |= {"PYTHONPATH": str(installed), "PATH": str(tmp_path / "no-git")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        words = (sys.executable, "-m", *words)
        return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)

    measured = run("pytest", "-q", "--fullpass-data", "rows.parquet", "--benchmark-json=now.json")
    assert "2 passed" in measured.stdout, measured.stdout + measured.stderr
    content = json.loads((folder / "now.json").read_text())
    assert content["machine_info"]["rack"] == "b" and content["machine_info"]["fullpass"]["cores"] >= 1
    for entry in content["benchmarks"]:
        assert entry["extra_info"]["records"] == 500 and entry["extra_info"]["code"]["commit"] is None
    assert run("cluster.cli.main", "bench", "report", "now.json").returncode == 0
    assert "again" in (folder / "bench.html").read_text()
    suite = run("cluster.cli.main", "bench", "suite", "--quick")
    assert suite.returncode == 2 and "run `fullpass bench suite` in a checkout" in suite.stderr
