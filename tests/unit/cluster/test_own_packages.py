"""A user's own engine.py, transforms.py, trainers.py or cluster.py: named, whichever of the two Python would take."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.user_code.module import load_user_module
from engine import ConfigError

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("file", ["engine.py", "transforms/__init__.py", "trainers.py", "cluster.py"])
def test_a_neighbour_of_the_users_module_with_our_name_is_named(tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine = 1\n")
    (tmp_path / "model.py").write_text("def preprocessing_fn(inputs): return inputs\n")
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"{file} has the name of Fullpass's package"):
            load_user_module(tmp_path / "model.py")
    assert str(tmp_path) not in sys.path


def test_a_folder_without_python_code_of_that_name_is_no_package(tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "model.py").write_text("value = 7\n")
    assert load_user_module(tmp_path / "model.py").value == 7


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["engine", "transforms", "trainers"])
def test_the_command_in_a_directory_with_our_name_names_the_file(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("mine = 1\n")
    done = _run(tmp_path, "cluster.cli.main", "jobs", "--help")
    assert done.returncode != 0 and f"{name}.py has the name of Fullpass's package '{name}'" in done.stderr


def test_a_worker_in_a_directory_with_our_name_names_the_file(tmp_path):
    (tmp_path / "transforms.py").write_text("mine = 1\n")
    done = _run(tmp_path, "trainers.supervision.worker", "--", "-m", "this")
    assert done.returncode == 2 and "transforms.py has the name of Fullpass's package 'transforms'" in done.stderr
