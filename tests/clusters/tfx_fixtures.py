"""A finished run of a real TFX pipeline on real flights, and what was found in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.nycflights import flights
from tests.support.servers.tfx import root as tfx

__all__ = ["TfxRun", "tfx_run", "tfx_transforms"]

REPOSITORY = Path(__file__).parents[2]
USER_FILES = Path(tfx.__file__).parent / "user"
COLUMNS = ["carrier", "origin", "dest", "dep_delay", "distance", "hour", "arr_delay"]
ROWS = 20000


class TfxRun:
    """The session directory of a pipeline that ran, as this machine sees it."""

    def __init__(self, root: tfx.TfxRoot, found: dict) -> None:
        self.root, self.out, self.found = root, root.session / "out", found


@pytest.fixture(scope="session")
def tfx_run(tmp_path_factory) -> TfxRun:
    """Runs the pipeline and then the checks, in the Debian root."""
    reason = tfx.reason_not_to_run()
    if reason is not None:
        pytest.skip(reason)
    root = tfx.tfx_root(tmp_path_factory.mktemp("tfx") / "session")
    root.install_project(REPOSITORY)
    shutil.copytree(USER_FILES, root.session / "user")
    table = flights()[COLUMNS].dropna().sample(ROWS, random_state=1)
    (root.session / "csv").mkdir()
    table.to_csv(root.session / "csv" / "flights.csv", index=False)
    root.run(["python", "/session/user/pipeline.py", "/session/csv", "/session/out"], log=root.session / "pipeline.log")
    root.run(["python", "/session/user/check.py", "/session/out"], log=root.session / "check.log")
    return TfxRun(root, json.loads((root.session / "out" / "check.json").read_text()))


@pytest.fixture(scope="session")
def tfx_transforms(tfx_run) -> dict:
    """Runs TFX's Transform and ours on the examples of that pipeline, and ours once more with the cache that it wrote."""
    root = tfx_run.root
    uris = json.loads((tfx_run.out / "uris.json").read_text())
    command = ["python", "/session/user/transform.py", "/session/transforms", uris["Examples"][0], uris["Schema"][0]]
    root.run(command, log=root.session / "transforms.log")
    return json.loads((root.session / "transforms" / "transform.json").read_text())
