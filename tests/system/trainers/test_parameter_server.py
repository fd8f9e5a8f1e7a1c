"""Parameter servers: a killed worker does not stop the training, a killed ps restarts it from the last commit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.system.trainers.test_group_faults import logged_steps, trainer_pid
from trainers.checkpoints.checkpoint import load_checkpoint
from trainers.loop.audit import read_audit
from trainers.supervision.local_group import LocalGroup

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = str(Path(__file__).parents[3])


def test_parameter_server_killed_worker_then_killed_ps_end_with_every_step(tmp_path):
    settings = {"records": 960, "every_steps": 8, "epochs": 3, "pause_s": 0.1}
    target = ["tests.support.group_target:train", str(tmp_path / "out"), json.dumps(settings)]
    running = LocalGroup(2, target, tmp_path / "logs", num_ps=1, env={"PYTHONPATH": ROOT}).start()

    def reach(step: int) -> None:
        while logged_steps(tmp_path) < step:
            assert running.wait(timeout_s=0.05) is None, "ended too early"

    def generations() -> int:
        return log.read_text().count("start -> chief 0")

    log = tmp_path / "logs" / "chief-0.supervisor.log"
    try:
        reach(12)
        os.kill(trainer_pid(running, ("worker", 1)), signal.SIGKILL)
        reach(28)
        assert generations() == 1, "a killed worker stops nobody else"
        os.kill(trainer_pid(running, ("ps", 0)), signal.SIGKILL)
        assert running.wait(timeout_s=900) == 0, log.read_text()[-3000:]
    finally:
        running.stop(grace_s=0.0)
    assert generations() == 2, "a killed ps restarts the group once"
    assert load_checkpoint(str(tmp_path / "out")).step == 90
    used = read_audit(str(tmp_path / "out"))
    for epoch in range(3):
        ids = [i for step in range(epoch * 30, epoch * 30 + 30) for i in used[step].tolist()]
        assert sorted(ids) == list(range(960)), "each record was handed out once an epoch by the steps that count"
