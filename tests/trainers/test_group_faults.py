"""Workers that die, stop or are preempted in the middle of one training: it ends, and every bit is that of a quiet run.

FULLPASS_CHAOS_KILLS (default 2) says how many times per training, FULLPASS_CHAOS_WORKERS (default 2) of how many workers,
FULLPASS_CHAOS_SEED which random moments.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.bits import weights_of
from trainers.audit import read_audit
from trainers.checkpoint import checkpoint_steps, load_checkpoint
from trainers.local_group import LocalGroup

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("FULLPASS_CHAOS_KILLS", "2"))
WORKERS = int(os.environ.get("FULLPASS_CHAOS_WORKERS", "2"))
SEED = int(os.environ.get("FULLPASS_CHAOS_SEED", "7"))
RECORDS, BATCH, EPOCHS = 640 + 320 * KILLS, 32, 3
SETTINGS = {"records": RECORDS, "every_steps": 8, "epochs": EPOCHS}
ROOT = str(Path(__file__).parents[2])


def group(directory: Path, workers: int = WORKERS, options: tuple[str, ...] = (), **settings) -> LocalGroup:
    target = ["tests.trainers.group_target:train", str(directory / "out"), json.dumps({**SETTINGS, **settings})]
    return LocalGroup(workers, target, directory / "logs", env={"PYTHONPATH": ROOT}, options=options)


def trainer_pid(running: LocalGroup, task: tuple[str, int]) -> int | None:
    """Returns the pid of the training process: the child of the standby of the supervisor."""
    for standby in _children(running.pids[task]):
        for child in _children(standby):
            return child
    return None


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def logged_steps(directory: Path) -> int:
    """Returns how many steps have been made, the repeated ones once."""
    names = [p.stem.split("-") for p in (directory / "out" / "audit" / "host-0000").glob("*.npy")]
    return max((int(step) for _, step in names), default=0)


def run_with_faults(directory: Path, faults: int, hurt, **more) -> LocalGroup:
    """Runs a training to its end; `hurt(group)` is called at `faults` random steps of it."""
    moments = random.Random(SEED)
    total = RECORDS * EPOCHS // BATCH
    steps = sorted(moments.sample(range(4, total - 12, 4), faults))
    running = group(directory, pause_s=0.05, **more).start()
    try:
        for number, step in enumerate(steps):
            while running.wait(timeout_s=0.05) is None and logged_steps(directory) < step:
                pass
            assert running.poll() is None, "the training ended before all faults were made"
            hurt(running, moments, number)
        assert running.wait(timeout_s=1800) == 0, (directory / "logs" / "worker-0.supervisor.log").read_text()[-3000:]
    finally:
        running.stop(grace_s=0.0)
    return running


@pytest.fixture(scope="module")
def quiet(tmp_path_factory) -> dict[str, bytes]:
    """Returns the final weights of an uninterrupted run."""
    directory = tmp_path_factory.mktemp("quiet")
    running = group(directory).start()
    try:
        assert running.wait(timeout_s=600) == 0, (directory / "logs" / "worker-0.log").read_text()[-3000:]
    finally:
        running.stop(grace_s=0.0)
    check_records(directory)
    return weights_of(str(directory / "out"))


def check_records(directory: Path) -> None:
    """Every record of each epoch was used exactly once by the steps that count."""
    used = read_audit(str(directory / "out"))
    per_epoch = RECORDS // BATCH
    assert sorted(used) == list(range(per_epoch * EPOCHS)), "every step is there, none more"
    for epoch in range(EPOCHS):
        ids = np.concatenate([used[step] for step in range(epoch * per_epoch, (epoch + 1) * per_epoch)])
        missing = set(range(RECORDS)) - set(ids.tolist())
        assert not missing, f"epoch {epoch} lost {sorted(missing)[:5]}"
        assert len(ids) == RECORDS, f"epoch {epoch} used {len(ids) - RECORDS} records twice"


def kill_a_worker(running: LocalGroup, moments: random.Random, number: int) -> None:
    task = moments.choice(running.tasks)
    until = time.monotonic() + 120
    while (pid := trainer_pid(running, task)) is None and time.monotonic() < until:
        time.sleep(0.02)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_group_killed_workers_end_bit_identically(quiet, tmp_path):
    run_with_faults(tmp_path, KILLS, kill_a_worker)
    log = (tmp_path / "logs" / "worker-0.supervisor.log").read_text()
    assert len(re.findall(r"ended with 137: killed by signal 9", log)) == KILLS
    check_records(tmp_path)
    assert weights_of(str(tmp_path / "out")) == quiet


def test_group_preempted_worker_saves_first_and_ends_bit_identically(quiet, tmp_path):
    saved: list[tuple[int, int]] = []

    def preempt(running, moments, number):
        task = moments.choice(running.tasks)
        before = checkpoint_steps(str(tmp_path / "out"))
        first = logged_steps(tmp_path)
        pid = running.pids[task]
        os.kill(pid, signal.SIGTERM)
        while running.pids[task] == pid:
            assert running.wait(timeout_s=0.1) is None
        after = checkpoint_steps(str(tmp_path / "out"))
        assert after != before, "SIGTERM commits a checkpoint"
        saved.append((first, after[-1]))

    run_with_faults(tmp_path, 1, preempt)
    assert all(committed >= first for first, committed in saved), saved
    check_records(tmp_path)
    assert weights_of(str(tmp_path / "out")) == quiet


def test_group_silent_worker_is_noticed_and_ends_bit_identically(quiet, tmp_path):
    stopped: list[float] = []

    def freeze(running, moments, number):
        pid = trainer_pid(running, ("worker", 1))
        os.kill(pid, signal.SIGSTOP)
        stopped.append(time.monotonic())
        while trainer_pid(running, ("worker", 1)) == pid:
            time.sleep(0.05)
        assert time.monotonic() - stopped[0] < 10, "a silent process is noticed within 10 s"

    run_with_faults(tmp_path, 1, freeze)
    check_records(tmp_path)
    assert weights_of(str(tmp_path / "out")) == quiet


def test_group_killed_supervisor_is_replaced(quiet, tmp_path):
    run_with_faults(tmp_path, 1, lambda running, *_: os.kill(running.pids["worker", 0], signal.SIGKILL))
    check_records(tmp_path)
    assert weights_of(str(tmp_path / "out")) == quiet


def test_group_fewer_workers_go_on_with_the_same_global_batches(quiet, tmp_path):
    total = RECORDS * EPOCHS // BATCH
    for workers, stop_at in ((2, total // 2), (1, None)):
        running = group(tmp_path, workers, pause_s=0.05 if stop_at else 0.0).start()
        try:
            while stop_at and logged_steps(tmp_path) < stop_at:
                assert running.wait(timeout_s=0.05) is None
            if stop_at:
                running.stop(grace_s=30.0)
            else:
                assert running.wait(timeout_s=600) == 0
        finally:
            running.stop(grace_s=0.0)
    check_ids_of_any_number_of_workers(tmp_path)
    last = load_checkpoint(str(tmp_path / "out"))
    assert last.state["strategy"]["hosts"] == 1 and last.step == total


def check_ids_of_any_number_of_workers(directory: Path) -> None:
    """The steps' records are those the plan says, whoever computed them."""
    from tests.trainers.models import classification_columns
    from trainers import ArrayDataset

    feed = ArrayDataset(classification_columns(RECORDS)).feed(global_batch_size=BATCH)
    hosts: dict[int, list[np.ndarray]] = {}
    newest: dict[int, int] = {}
    for host in sorted((directory / "out" / "audit").glob("host-*")):
        for path in host.glob("*.npy"):
            process, first = map(int, path.stem.split("-"))
            for i, ids in enumerate(np.load(path)):
                hosts.setdefault(first + i, []).append(ids)
                newest[first + i] = max(newest.get(first + i, 0), process)
    for step, parts in hosts.items():
        expected = set(feed.plan.record_ids(feed.plan.cursor(step)).tolist())
        used = [i for ids in parts for i in ids.tolist()]
        assert set(used) == expected, step
        assert len(used) % BATCH == 0, "a whole number of runs made this step"


def test_group_program_error_ends_at_once_and_says_why(tmp_path):
    target = ["tests.trainers.group_target:no_such_function"]
    running = LocalGroup(1, target, tmp_path, env={"PYTHONPATH": ROOT}).start()
    try:
        assert running.wait(timeout_s=120) == 3
    finally:
        running.stop(grace_s=0.0)
    assert "no_such_function" in (tmp_path / "worker-0.supervisor.log").read_text()
