"""The files of the usual tools call what is there: make targets, scripts, versions."""

import re
from pathlib import Path

import pytest
import yaml

from engine.version import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_calls_what_is_there(path):
    targets = set(re.findall(r"^([\w -]+):", (ROOT / "Makefile").read_text(), re.M))
    targets = {name for names in targets for name in names.split()}
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    assert jobs
    for job in jobs:
        assert "uses" in job or job["timeout-minutes"], "a job that hangs must end"
        for step in job.get("steps", [job]):
            for target in re.findall(r"make ([\w-]+)", step.get("run", "")):
                assert target in targets
            for script in re.findall(r"(?:^|\s)(\.ci/[\w-]+)", step.get("run", "")):
                assert (ROOT / script).exists()
            if step.get("uses", "").startswith("./"):
                used = ROOT / step["uses"]
                assert used.is_file() or (used / "action.yml").is_file()


def test_citation_has_the_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


@pytest.mark.parametrize("name", [".pre-commit-config.yaml", "mkdocs.yml", ".github/dependabot.yml"])
def test_settings_parse(name):
    assert yaml.safe_load((ROOT / name).read_text())
