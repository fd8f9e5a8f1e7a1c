"""A user's own engine.py, transforms.py, trainers.py or cluster.py: named, whichever of the two Python would take."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.user_code.module import load_user_module
from engine import ConfigError
from engine.core.own_packages import module_words

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


def test_a_process_of_ours_imports_nothing_from_the_working_directory(tmp_path):
    """A `random.py` there ended every worker of a group, and a command alone not."""
    for name in ("random", "argparse", "grpc", "runpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('of the working directory')\n")
    words = module_words("trainers.supervision.worker", "--help")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m trainers.supervision.worker"), done.stderr


def test_relative_imports_start_from_the_package_of_the_module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    directory = tmp_path / "relative_top" / "sub"
    directory.mkdir(parents=True)
    (directory / "model.py").write_text(
        "from . import beside\nfrom ..above import value\nfound = beside.value + value\n"
    )
    (directory / "beside.py").write_text("value = 7\n")
    (directory.parent / "above.py").write_text("value = 30\n")
    with pytest.raises(ConfigError, match=r"no known parent package; an __init__\.py beside it"):
        load_user_module(directory / "model.py")
    for each in (directory, directory.parent):
        (each / "__init__.py").write_text("")
    module = load_user_module(directory / "model.py")
    assert module.found == 37 and module is load_user_module(directory / "model.py")

    other = tmp_path / "elsewhere" / "relative_top"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (other / "model.py").write_text("from .above import value\n")
    with pytest.raises(ConfigError, match="another of that name is imported already"):
        load_user_module(other / "model.py")
    for name in [each for each in sys.modules if each.partition(".")[0] == "relative_top"]:
        del sys.modules[name]


@pytest.mark.parametrize("known", [False, True])
def test_a_module_with_the_name_of_its_package_imports_relatively(tmp_path, monkeypatch, known):
    package = tmp_path / f"same_name_{known}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("value = 5\n")
    (package / f"{package.name}.py").write_text("from . import helper\nvalue = helper.value\n")
    monkeypatch.setattr(sys, "path", [*sys.path, *([str(tmp_path)] if known else [])])
    assert load_user_module(package / f"{package.name}.py").value == 5
    for name in [each for each in sys.modules if each.partition(".")[0] == package.name]:
        del sys.modules[name]


def test_a_module_beside_goes_before_one_of_its_name_above_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    package = tmp_path / "beside_first"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("value = 10\n")
    (package / "helper_of_two.py").write_text("value = 1\n")
    (tmp_path / "helper_of_two.py").write_text("value = 2\n")
    (tmp_path / "only_above.py").write_text("value = 100\n")
    (package / "model.py").write_text(
        "from . import other\nimport beside_first.other\nimport helper_of_two\nimport only_above\n"
        "value = helper_of_two.value + other.value + only_above.value\n"
    )
    try:
        assert load_user_module(package / "model.py").value == 111
    finally:
        for name in [
            each for each in sys.modules if each.partition(".")[0] in ("beside_first", "helper_of_two", "only_above")
        ]:
            del sys.modules[name]


def test_an_installed_package_of_the_name_goes_behind_the_modules_own(tmp_path, monkeypatch):
    installed, above = tmp_path / "installed", tmp_path / "own"
    for directory, value in ((installed, 1), (above, 2)):
        package = directory / "name_of_two"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "helper.py").write_text(f"value = {value}\n")
    (above / "name_of_two" / "model.py").write_text("from .helper import value\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed), str(above)])  # as an editable install has it
    try:
        assert load_user_module(above / "name_of_two" / "model.py").value == 2
    finally:
        for name in [each for each in sys.modules if each.partition(".")[0] == "name_of_two"]:
            del sys.modules[name]


def test_a_package_with_our_name_keeps_its_modules_without_relative_imports(tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("")
    (tmp_path / "engine" / "model.py").write_text("value = 9\n")
    assert load_user_module(tmp_path / "engine" / "model.py").value == 9
