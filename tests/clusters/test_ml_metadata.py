"""A run in a real store of ML Metadata, which installs with TFX alone: its own library writes and reads it."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.clusters.tfx_fixtures import REPOSITORY
from tests.support.report_run import write_run
from tests.support.servers.tfx import root as tfx

pytestmark = [pytest.mark.tfx, pytest.mark.timeout(3600)]


def test_store_holds_steps_what_they_read_and_wrote_and_each_once(tmp_path):
    reason = tfx.reason_not_to_run()
    if reason is not None:
        pytest.skip(reason)
    root = tfx.tfx_root(tmp_path / "session")
    root.install_project(REPOSITORY)
    check = "ml_metadata_check.py"
    shutil.copy(REPOSITORY / "tests" / "support" / check, root.session / check)
    write_run(root.session / "run")
    printed = root.run(["python", f"/session/{check}", "/session/run", "/session/store.db"])
    found = json.loads(printed.strip().splitlines()[-1])
    steps = ["analyze", "evaluate", "export", "ingest", "stats", "train", "transform", "validate"]
    assert found["executions"] == [f"fullpass.{step}" for step in steps] and found["complete"]
    assert found["said"][0].startswith("mlmd /session/store.db: 8 executions") and found["said"][1].endswith("already")
    assert set(found["contexts"].values()) == {8} and "clicks" in found["contexts"]
    for event in (
        ["fullpass.analyze", "output", "TransformGraph"],
        ["fullpass.transform", "input", "TransformGraph"],
        ["fullpass.export", "input", "ModelRun"],
        ["fullpass.validate", "input", "ExampleStatistics"],
    ):
        assert event in found["events"]
    assert found["rows"]["fullpass.ingest"] == 1200
    assert (found["auc"], found["blessed"]) == (0.9, 1) and found["uri"].endswith("/evaluation.json")
