"""Workers that die, stop or are preempted in the middle of one training: it ends, and every bit is that of a quiet run.

FULLPASS_CHAOS_KILLS (default 1) says how many times per training, FULLPASS_CHAOS_WORKERS (default 2) of how many workers,
FULLPASS_CHAOS_SEED which random moments, FULLPASS_CHAOS_STOP_S (default 30) for how many seconds a machine or process stands still,
FULLPASS_CHAOS_SIZES (default 2,1) how many workers a run has that is stopped and resumed with fewer.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engine.core import exit_codes
from tests.support.bits import weights_of
from tests.support.eventually import eventually
from trainers.checkpoints.checkpoint import load_checkpoint
from trainers.checkpoints.directory import checkpoint_steps
from trainers.loop.audit import read_audit
from trainers.supervision.local_group import LocalGroup

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("FULLPASS_CHAOS_KILLS", "1"))
WORKERS = int(os.environ.get("FULLPASS_CHAOS_WORKERS", "2"))
STOP_S = float(os.environ.get("FULLPASS_CHAOS_STOP_S", "30"))
SIZES = [int(size) for size in os.environ.get("FULLPASS_CHAOS_SIZES", "2,1").split(",")]
SEED = int(os.environ.get("FULLPASS_CHAOS_SEED", "7"))
RECORDS, BATCH, EPOCHS = 640 + 320 * KILLS, 32, 3
SETTINGS = {"records": RECORDS, "every_steps": 8, "epochs": EPOCHS}
ROOT = str(Path(__file__).parents[3])


def group(directory: Path, workers: int = WORKERS, options: tuple[str, ...] = (), **settings) -> LocalGroup:
    target = ["tests.support.group_target:train", str(directory / "out"), json.dumps({**SETTINGS, **settings})]
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


def run_with_faults(directory: Path, faults: int, hurt, room: int = 12, **more) -> LocalGroup:
    """Trains to the end; `hurt(group)` is called at `faults` random steps of it, `room` steps before the end."""
    moments = random.Random(SEED)
    total = RECORDS * EPOCHS // BATCH
    steps = sorted(moments.sample(range(4, total - room, 16), faults))  # so far apart that no restart has two of them
    gates = [directory / "gates" / str(step + 8) for step in steps]
    for gate in gates:
        gate.parent.mkdir(exist_ok=True)
        gate.touch()
    running = group(directory, pause_s=0.05, **more).start()
    try:
        for number, step in enumerate(steps):
            while running.wait(timeout_s=0.05) is None and logged_steps(directory) < step:
                pass
            assert running.poll() is None, "the training ended before all faults were made"
            gates[number].unlink()
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
    os.kill(eventually(lambda: trainer_pid(running, task), f"{task} trains", 120), signal.SIGKILL)


def test_group_killed_workers_and_strangers_at_the_rendezvous_end_bit_identically(quiet, tmp_path):
    """Connections without end, garbage and halves of hellos from the first kill to the last step: who died finds its way back."""
    over, made, threads = threading.Event(), [], []

    def hurt(running, moments, number):
        if not threads:
            host, _, port = running.rendezvous.rpartition(":")
            threads.append(threading.Thread(target=flood, args=((host, int(port)), over, made)))
            threads[0].start()
        kill_a_worker(running, moments, number)

    try:
        # A worker that gets no processor time for some seconds is not to be taken for a dead one.
        run_with_faults(tmp_path, KILLS, hurt, options=("--silent-after", "60"))
    finally:
        over.set()
    threads[0].join()
    assert len(made) > 500
    log = (tmp_path / "logs" / "worker-0.supervisor.log").read_text()
    # Which of the two is said depends on who notices first, its own supervisor or its peer's collective.
    assert re.search(r"ended with 137: (killed by signal 9|worker \d: UnavailableError)", log), log[-3000:]
    assert starts(tmp_path) == KILLS + 1, "a restart for each kill, none more"
    check_records(tmp_path)
    assert weights_of(str(tmp_path / "out")) == quiet


def flood(address: tuple[str, int], over: threading.Event, made: list[int]) -> None:
    """Connects and talks nonsense until it is over; `made` grows by one for each connection."""
    noise, held = random.Random(SEED), []
    with contextlib.suppress(OSError):
        while not over.is_set():
            one = socket.create_connection(address, timeout=1)
            held.append(one)
            made.append(1)
            with contextlib.suppress(OSError):
                one.sendall(noise.choice([b"", b"[]\n", b'{"is":"hel', noise.randbytes(300), b'{"is":"join"}\n']))
            if len(held) > 200:
                held.pop(0).close()
            time.sleep(0.001)  # the workers need the processor, too
    for one in held:
        one.close()


def starts(directory: Path) -> int:
    """Returns how often the first worker was told to start."""
    return len(re.findall(r"start -> worker 0 ", (directory / "logs" / "worker-0.supervisor.log").read_text()))


def test_group_preempted_worker_replaced_supervisor_full_disk_and_hasty_end(quiet, tmp_path):
    """SIGTERM saves first, a killed supervisor is replaced, and neither a full disk nor a worker that leaves first restarts anybody."""
    saved: list[tuple[int, int]] = []
    started: list[int] = []

    def preempt(running, moments):
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

    def fill(running):
        # Room for the ids of a call, none for a checkpoint.
        pid = trainer_pid(running, ("worker", 0))
        started.append(starts(tmp_path))
        before, limits = logged_steps(tmp_path), resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        time.sleep(0.5)  # a save under way may still have had room
        stands = checkpoint_steps(str(tmp_path / "out"))
        while logged_steps(tmp_path) < before + 3 * SETTINGS["every_steps"]:
            assert running.wait(timeout_s=0.05) is None
        assert checkpoint_steps(str(tmp_path / "out")) == stands, "nothing new, nothing gone"
        load_checkpoint(str(tmp_path / "out"))
        assert trainer_pid(running, ("worker", 0)) == pid, "the training went on"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    def hurt(running, moments, number):
        if number == 0:
            preempt(running, moments)
        elif number == 1:
            os.kill(running.pids["worker", 0], signal.SIGKILL)
        else:
            fill(running)

    run_with_faults(tmp_path, 3, hurt, room=5 * SETTINGS["every_steps"], hasty=True)
    assert all(committed >= first for first, committed in saved), saved
    assert starts(tmp_path) == started[0], "no restart since the disk was full"
    check_records(tmp_path)
    assert weights_of(str(tmp_path / "out")) == quiet


def test_group_machine_and_process_stopped_for_30_s_do_no_harm_when_they_go_on(quiet, tmp_path):
    task, still = ("worker", 1), []

    def freeze(running, moments, number):
        pid, supervisor = trainer_pid(running, task), running.pids[task]
        # First the whole machine stands still: its trainer would write and its supervisor would speak for a group that is
        # over. Then the training process alone, which is killed and replaced long before it may go on.
        whole = [supervisor, *_children(supervisor), pid] if number == 0 else [pid]
        still.append(stand_still(whole))
        if number == 0:
            still[0].join()

    run_with_faults(tmp_path, 2, freeze)
    for thread in still:
        thread.join()
    first = (tmp_path / "logs" / "worker-0.supervisor.log").read_text()
    assert "worker 1 is silent: taken for dead" in first
    # Its own supervisor or its peer's collective notices first, both after about 8 s.
    noticed = r"worker 1 ended with 137: (its process gave no sign of life for 8 s|worker 0: UnavailableError)"
    assert re.search(noticed, first)
    assert "start -> worker 1 3" in first and "start -> worker 1 4" not in first, "two restarts, none more"
    check_records(tmp_path)
    assert weights_of(str(tmp_path / "out")) == quiet


def stand_still(pids: list[int]) -> threading.Thread:
    """Stops processes now, and lets those that are still there go on after STOP_S; returns the thread that does."""
    handles = [os.pidfd_open(pid) for pid in pids]
    for handle in handles:
        signal.pidfd_send_signal(handle, signal.SIGSTOP)

    def go_on() -> None:
        time.sleep(STOP_S)  # that long they stand still
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            os.close(handle)

    thread = threading.Thread(target=go_on)
    thread.start()
    return thread


def test_group_fewer_workers_go_on_with_the_same_global_batches_and_the_same_curve(tmp_path):
    total = RECORDS * EPOCHS // BATCH
    curve = {"dense": True, "tensorboard": True, "log_every_steps": 4}
    for number, workers in enumerate(SIZES, 1):
        stop_at = total * number // len(SIZES) if number < len(SIZES) else None
        running = group(tmp_path, workers, pause_s=0.05 if stop_at else 0.0, **curve).start()
        try:
            while stop_at and logged_steps(tmp_path) < stop_at:
                assert running.wait(timeout_s=0.05) is None
            if stop_at:
                running.stop(grace_s=60.0)
            else:
                assert running.wait(timeout_s=600) == 0
        finally:
            running.stop(grace_s=0.0)
    check_ids_of_any_number_of_workers(tmp_path)
    last = load_checkpoint(str(tmp_path / "out"))
    assert last.state["strategy"]["hosts"] == SIZES[-1] and last.step == total
    assert len(list((tmp_path / "out" / "audit").glob("host-*"))) == max(SIZES)
    alone = group(tmp_path / "alone", 1, **curve).start()
    try:
        assert alone.wait(timeout_s=600) == 0
    finally:
        alone.stop(grace_s=0.0)
    ours, theirs = losses(tmp_path, tmp_path / "alone")
    expected = sorted({*range(4, total + 1, 4), total})
    assert sorted(theirs) == expected and set(expected) <= set(ours)
    # A group that is stopped logs where it stopped; the mean after that is of fewer steps than without a stop.
    shortened = {next(s for s in expected if s > extra) for extra in set(ours) - set(expected)}
    assert len(shortened) < len(SIZES)
    steps = [s for s in expected if s not in shortened]
    np.testing.assert_allclose([ours[s] for s in steps], [theirs[s] for s in steps], rtol=1e-4)


def losses(*directories: Path) -> list[dict[int, float]]:
    """Returns step to training loss of each, from the events that TensorBoard reads."""
    program = (
        "import glob, json, sys, tensorflow as tf; "
        "runs = [[e for f in sorted(glob.glob(d)) for e in tf.compat.v1.train.summary_iterator(f)] for d in sys.argv[1:]]; "
        "print(json.dumps([[[e.step, float(tf.make_ndarray(v.tensor))] for e in run for v in e.summary.value "
        "if v.tag == 'loss'] for run in runs]))"
    )
    files = [str(directory / "out" / "logs" / "train" / "*") for directory in directories]
    said = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=True).stdout
    return [dict(run) for run in json.loads(said)]


def check_ids_of_any_number_of_workers(directory: Path) -> None:
    """The steps' records are those the plan says, whoever computed them."""
    from tests.support.models import classification_columns
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
    target = ["tests.support.group_target:no_such_function"]
    running = LocalGroup(1, target, tmp_path, env={"PYTHONPATH": ROOT}).start()
    try:
        assert running.wait(timeout_s=120) == exit_codes.PROGRAM_ERROR
    finally:
        running.stop(grace_s=0.0)
    assert "no_such_function" in (tmp_path / "worker-0.supervisor.log").read_text()
