"""The table of environment variables: typed, whole, and what docs/environment.md shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine import ConfigError
from engine.core.environment import DEBUG, PROGRESS, REMOTE, VARIABLES
from engine.storage.remote import RemoteOptions

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("engine", "transforms", "trainers", "cluster")
WORDS = {int: "whole number", float: "number", bool: "0 or 1", str: "text"}


def test_every_variable_named_in_the_packages_is_in_the_table():
    known = {variable.name for variable in VARIABLES}
    named = {
        name
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for name in re.findall(r"FULLPASS_[A-Z]+(?:_[A-Z]+)*\b(?!_)", file.read_text())
    }
    assert named - {"FULLPASS_REMOTE"} <= known
    assert len(known) == len(VARIABLES)


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_documentation_shows_type_default_and_meaning(variable):
    row = [f"`{variable.name}`", WORDS[variable.kind]]
    if not variable.internal:
        default = int(variable.default) if variable.kind is bool else variable.default
        row.append("–" if variable.default is None else str(default))
    assert f"| {' | '.join([*row, variable.meaning])} |" in (ROOT / "docs/environment.md").read_text()


def test_values_are_typed_and_a_wrong_one_is_named():
    assert PROGRESS.read({}) is True and PROGRESS.read({"FULLPASS_PROGRESS": "0"}) is False
    assert DEBUG.read({"FULLPASS_DEBUG": ""}) is False
    assert REMOTE["backoff_s"].read({"FULLPASS_REMOTE_BACKOFF_S": "2"}) == 2.0
    with pytest.raises(ConfigError, match="FULLPASS_PROGRESS: got 'no'; expected 0 or 1"):
        PROGRESS.read({"FULLPASS_PROGRESS": "no"})
    with pytest.raises(ConfigError, match="FULLPASS_REMOTE_ATTEMPTS: got 'x'; expected a whole number"):
        REMOTE["attempts"].read({"FULLPASS_REMOTE_ATTEMPTS": "x"})


def test_remote_options_are_those_of_the_environment(monkeypatch):
    assert RemoteOptions.from_environment() == RemoteOptions()
    for name, variable in REMOTE.items():
        value = "/tmp/cache" if variable.kind is str else "8192"
        monkeypatch.setenv(variable.name, value)
        assert getattr(RemoteOptions.from_environment(), name) == variable.kind(value)
