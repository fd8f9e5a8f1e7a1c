"""Training on a real Ray cluster of two raylets: actors and a raylet are killed, the result stays the same to the bit."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from cluster import JobSpec, Resources
from cluster.launchers import JobState, launcher
from tests.support.eventually import eventually

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
RECORDS, EPOCHS, BATCH = 1920, 3, 32
TIMEOUT_S = 400


def submit(place, name: str, directory: Path, workers: int, pause_s: float = 0.0, **more):
    settings = {"strategy": "multi_worker_mirrored", "records": RECORDS, "epochs": EPOCHS, "pause_s": pause_s, **more}
    spec = JobSpec(
        name=name,
        module="tests.support.group_target:train",
        args=(str(directory), json.dumps(settings)),
        roles={"worker": workers},
        resources=Resources(cpu="1", memory="1Gi"),
        env={"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        grace_s=5,
    )
    return place.submit(spec)


@pytest.fixture(scope="module")
def undisturbed(ray_nodes, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    handle = submit(launcher("ray", placement="SPREAD"), "undisturbed", directory, 2)
    finish(handle)
    return weights(directory)


def finish(handle):
    status = handle.wait(timeout_s=TIMEOUT_S, poll_s=0.5)
    tail = "\n".join(str(line) for line in handle.logs(tail=20))
    assert status.state is JobState.SUCCEEDED, f"{status}\n{tail}"
    return status


def weights(directory: Path) -> dict[str, bytes]:
    from trainers.checkpoints.checkpoint import load_checkpoint
    from trainers.checkpoints.directory import latest_checkpoint

    path = latest_checkpoint(str(directory))
    assert path is not None
    saved = load_checkpoint(path)
    groups = ("model", "optimizer")
    found = {g + name: np.asarray(value).tobytes() for g in groups for name, value in saved.tensors(g).items()}
    assert len(found) > 10
    return found


def check_exactly_once(directory: Path) -> None:
    from trainers.loop.audit import read_audit

    steps = read_audit(str(directory))
    per_epoch = RECORDS // BATCH
    assert sorted(steps) == list(range(per_epoch * EPOCHS))
    for epoch in range(EPOCHS):
        ids = np.concatenate([steps[epoch * per_epoch + step] for step in range(per_epoch)])
        assert len(ids) == RECORDS
        assert sorted(ids.tolist()) == list(range(RECORDS)), "a record is missing or repeated"


def wait_for_checkpoint(handle, directory: Path) -> None:
    def ended():
        status = handle.status()
        return status if status.state.finished else None

    eventually(lambda: any(directory.glob("**/step-*")), "a checkpoint is there", TIMEOUT_S, poll_s=0.2, unless=ended)


def test_four_actors_train_every_record_once(ray_launcher, tmp_path):
    status = finish(submit(ray_launcher, "four", tmp_path, 4))
    assert len(status.tasks) == 4
    assert len({task.where.split("node ")[1] for task in status.tasks}) == 2
    check_exactly_once(tmp_path)


def test_message_of_a_failed_job_is_the_reason_of_the_member_that_failed(ray_launcher, tmp_path):
    handle = submit(ray_launcher, "one-fails", tmp_path, 2, fails_on=1)
    status = handle.wait(timeout_s=TIMEOUT_S, poll_s=0.5)
    assert status.state is JobState.FAILED
    assert "worker 1" in status.message and "ValueError: my own mistake" in status.message, status


def test_killed_actor_training_goes_on_to_the_same_bits(ray_launcher, undisturbed, tmp_path):
    handle = submit(ray_launcher, "actor-dies", tmp_path, 2, pause_s=0.3)
    wait_for_checkpoint(handle, tmp_path)
    os.kill(int(handle.status().tasks[1].where.split("pid ")[1].split()[0]), signal.SIGKILL)
    status = finish(handle)
    assert sum(task.restarts for task in status.tasks) >= 1
    check_exactly_once(tmp_path)
    assert weights(tmp_path) == undisturbed


def test_killed_raylet_training_goes_on_elsewhere_to_the_same_bits(ray_nodes, ray_launcher, undisturbed, tmp_path):
    handle = submit(ray_launcher, "raylet-dies", tmp_path, 2, pause_s=0.3)
    wait_for_checkpoint(handle, tmp_path)
    lost = ray_nodes.worker_nodes.copy().pop()
    ray_nodes.remove_node(lost, allow_graceful=False)
    status = finish(handle)
    assert sum(task.restarts for task in status.tasks) >= 1
    assert len({task.where.split("node ")[1] for task in status.tasks}) == 1  # both on the node that is left
    check_exactly_once(tmp_path)
    assert weights(tmp_path) == undisturbed
