"""A run of four workers under random faults for as long as you like; at its end every bit is that of a quiet run.

FULLPASS_SOAK_S: seconds of faults (default 60; 1800 for the long one). FULLPASS_SOAK_SEED: which faults, and when (default 20).
FULLPASS_SOAK_WORKERS: default 4. The figures of the last long one are in docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters.soak_results import BATCH, RECORDS, Deck, check_records, steps_made
from tests.support.bits import weights_of
from tests.support.ports import tree
from tests.support.small_disk import file_system_at
from trainers.supervision.local_group import LocalGroup

SECONDS = float(os.environ.get("FULLPASS_SOAK_S", "60"))
SEED = int(os.environ.get("FULLPASS_SOAK_SEED", "20"))
WORKERS = int(os.environ.get("FULLPASS_SOAK_WORKERS", "4"))
ROOT = Path(__file__).parents[2]
PAUSE_S = 0.1 if SECONDS <= 300 else 0.3  # a long one waits more and computes less
# Four steps a call, each with its pause: undisturbed, the run would take about a third of the time of the faults, or an eighth.
EPOCHS = max(3, int(SECONDS / (3 if SECONDS <= 300 else 8) / (PAUSE_S * RECORDS / BATCH / 4)))
STEPS = EPOCHS * RECORDS // BATCH
OPTIONS = ("--max-restarts", "100000", "--max-failures-in-a-row", "1000", "--rejoin-timeout", "600")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(int(2100 + 6 * SECONDS))]


def start(directory: Path, pause_s: float, env: dict[str, str]) -> LocalGroup:
    settings = {"records": RECORDS, "every_steps": 8, "epochs": EPOCHS, "pause_s": pause_s}
    target = ["tests.support.group_target:train", str(directory / "out"), json.dumps(settings)]
    return LocalGroup(
        WORKERS, target, directory / "logs", env={"PYTHONPATH": str(ROOT), **env}, options=OPTIONS
    ).start()


class Faults:
    """The faults, each a method; `clock` holds the offset of the group's wall clock."""

    def __init__(self, group: LocalGroup, dice: random.Random, clock: Path | None, ballast: Path | None) -> None:
        self._group, self._dice, self._clock, self._ballast = group, dice, clock, ballast
        self.made: Counter[str] = Counter()
        self.all: dict[str, Callable[[], None]] = {
            "worker killed": self.kill_worker,
            "supervisor killed": self.kill_supervisor,
            "pod removed": self.remove_pod,
            "worker stopped": self.stop_worker,
            "machine stopped": self.stop_machine,
            "asked to stop": self.preempt,
            "files too large": self.limit_files,
            **({"disk full": self.fill_disk} if ballast else {}),
            "garbage on all ports": self.garbage,
            **({"clock set": self.set_clock} if clock else {}),
        }
        self._kinds = Deck(self.all, dice)

    def make_one(self) -> None:
        name = self._kinds.draw()
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            self.all[name]()
            self.made[name] += 1

    def _task(self) -> tuple[str, int]:
        return self._dice.choice(self._group.tasks)

    def _worker(self) -> int:
        """The training process: forked by the standby, which the supervisor started."""
        family = tree(self._group.pids[self._task()])
        if len(family) < 3:
            raise ProcessLookupError
        return family[2]

    def kill_worker(self) -> None:
        os.kill(self._worker(), signal.SIGKILL)

    def kill_supervisor(self) -> None:
        os.kill(self._group.pids[self._task()], signal.SIGKILL)

    def remove_pod(self) -> None:
        """As the kubelet does it: SIGTERM, a grace that may be too short, then SIGKILL to all of it at once."""
        task = self._task()
        family = [os.pidfd_open(pid) for pid in tree(self._group.pids[task])]
        try:
            os.kill(self._group.pids[task], signal.SIGTERM)
            time.sleep(self._dice.choice([0.0, 0.3, 2.0]))  # the grace
            for handle in reversed(family):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            for handle in family:
                os.close(handle)

    def stop_worker(self) -> None:
        self._stop([self._worker()])

    def stop_machine(self) -> None:
        self._stop(tree(self._group.pids[self._task()]))

    def _stop(self, pids: list[int]) -> None:
        handles = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handles.append(os.pidfd_open(pid))
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGSTOP)
        self._group.wait(timeout_s=self._dice.choice([0.5, 3.0, 12.0]))
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            os.close(handle)

    def preempt(self) -> None:
        os.kill(self._group.pids[self._task()], signal.SIGTERM)

    def fill_disk(self) -> None:
        """Not a byte is left on the file system that the run writes to."""
        assert self._ballast is not None
        with open(self._ballast, "wb", buffering=0) as file:
            try:
                with contextlib.suppress(OSError):
                    while file.write(bytes(65536)) == 65536:
                        pass
                self._group.wait(timeout_s=self._dice.choice([0.5, 2.0, 8.0]))
            finally:
                file.truncate(0)

    def limit_files(self) -> None:
        """Room for the ids of a call, none for a checkpoint."""
        pid = self._worker()
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        self._group.wait(timeout_s=4.0)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    def garbage(self) -> None:
        ports = [*self._group.ports, int(self._group.rendezvous.rpartition(":")[2])]
        for port in self._dice.choices(ports, k=60):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(
                    self._dice.choice([b"[]\n", b'{"is":"join"}\n', b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
                )
                connection.sendall(self._dice.randbytes(self._dice.randrange(3000)))

    def set_clock(self) -> None:
        assert self._clock is not None
        with open(self._clock, "r+b") as file:  # in place: the processes have it mapped
            file.write(struct.pack("<q", self._dice.choice([-86400, -3600, -5, 5, 3600, 86400])))


def jumping_clock(directory: Path) -> tuple[Path | None, dict[str, str]]:
    """Returns the file with the offset of a group's wall clock and the variables that make it use that; none without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None, {}
    library, offset = directory / "clock.so", directory / "offset"
    source = ROOT / "tests" / "support" / "native" / "clock_jump.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", str(source), "-o", str(library), "-ldl"], check=True)
    offset.write_bytes(bytes(8))
    return offset, {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)}


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[Path | None]:
    """Has the run write to a file system of its own; yields a file that may fill it, None where nothing may be mounted."""
    directory.mkdir(parents=True)
    size = 256 + STEPS * WORKERS * 2 // 256  # MiB: a page and an inode for each file of the audit
    with file_system_at(directory, f"{size}m") as mounted:
        yield directory / "ballast" if mounted else None


def test_soak_ends_bit_identically_with_every_record_once(tmp_path, capsys):
    quiet = start(tmp_path / "quiet", 0.0, {})
    try:
        assert quiet.wait(timeout_s=1200 + SECONDS) == 0, (tmp_path / "quiet/logs/worker-0.log").read_text()[-3000:]
    finally:
        quiet.stop(grace_s=0.0)
    with small_disk(tmp_path / "hurt" / "out") as ballast:
        hurt_by_faults(tmp_path, ballast, capsys)


def hurt_by_faults(tmp_path: Path, ballast: Path | None, capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(SEED)
    clock, env = jumping_clock(tmp_path)
    group = start(tmp_path / "hurt", PAUSE_S, env)
    faults = Faults(group, dice, clock, ballast)
    try:
        while steps_made(tmp_path / "hurt" / "out") == 0:  # four imports of TensorFlow are no part of the time
            assert group.wait(timeout_s=0.2) is None
        seen, began = 0, time.monotonic()
        while time.monotonic() - began < SECONDS and (made := steps_made(tmp_path / "hurt" / "out")) < STEPS - 40:
            group.wait(timeout_s=dice.uniform(0.5, 4.0))
            if made > seen:  # it has gone on since the last fault: else all that is tested is the start
                seen = made
                faults.make_one()
            assert group.poll() is None, (tmp_path / "hurt/logs/worker-0.supervisor.log").read_text()[-3000:]
        code = group.wait(timeout_s=900 + 3 * SECONDS)
        assert code == 0, (tmp_path / "hurt/logs/worker-0.supervisor.log").read_text()[-3000:]
    finally:
        group.stop(grace_s=0.0)
    log = (tmp_path / "hurt/logs/worker-0.supervisor.log").read_text()
    figures = {
        "seed": SEED, "workers": WORKERS, "seconds": round(time.monotonic() - began), "steps": STEPS,
        "faults": dict(sorted(faults.made.items())), "generations": log.count("start -> worker 0"),
    }  # fmt: skip
    with capsys.disabled():
        print(f"\nsoak: {json.dumps(figures)}")
    assert sum(faults.made.values()) >= 3, figures
    check_records(tmp_path / "hurt" / "out", EPOCHS)
    assert weights_of(str(tmp_path / "hurt" / "out")) == weights_of(str(tmp_path / "quiet" / "out"))
