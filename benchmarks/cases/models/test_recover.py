"""Seconds from kill -9 of a worker to the next step of the group, with its parts, against a fresh start of the same group.

The peer is what a restart costs without standby and supervisor: starting the group anew (import, connect, build, restore, first step).
Each pair is a group of its own that goes on from the checkpoints of the one before. Processor time is that of the whole group: its
supervisors, the processes that wait, and the training ones.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import statistics
import time
from pathlib import Path

import psutil
import pytest

from cluster.benchmarking.pairs import PairedResult
from cluster.benchmarking.results import record_pair
from tests.system.trainers.test_group_faults import logged_steps, trainer_pid
from trainers.supervision.local_group import LocalGroup

ROOT = str(Path(__file__).parents[3])
PAIRS = int(os.environ.get("FULLPASS_BENCH_KILLS", "5"))
PHASES = ("imported", "connected", "built", "restored", "stepped")
SETTINGS = {"records": 3200, "every_steps": 8, "epochs": 30, "pause_s": 0.05}
LINE = re.compile(r"phase (\w+) of generation (\d+) at ([\d.]+), ([\d.]+) s of processor time")


def phases(log: Path, processor: bool = False) -> list[dict[str, float]]:
    """Returns, for each generation, phase name to the time at which the first worker's process reached it.

    With `processor` it is the processor seconds that the process had used by then, which a busy machine does not stretch.
    """
    found: dict[int, dict[str, float]] = {}
    for name, generation, at, used in LINE.findall(log.read_text() if log.exists() else ""):
        found.setdefault(int(generation), {})[name] = float(used if processor else at)
    return [found[g] for g in sorted(found)]


def used_by(group: LocalGroup) -> float:
    """Returns the processor seconds of the group's processes so far, those that ended included."""
    total = 0.0
    for pid in group.pids.values():
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:  # its parent has its time now, or soon
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total


class Life:
    """A group that starts anew, is hurt once and recovers.

    Attributes:
        fresh_s, fresh_cpu_s: from its start to its first step.
        recovery_s, recovery_cpu_s: from the kill to the next step.
        parts, work: seconds and processor seconds of the first worker's process in the phases of the recovery.
    """

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._log = directory, directory / f"logs-{number}" / "worker-0.supervisor.log"
        target = ["tests.support.group_target:train", str(directory / "out"), json.dumps(SETTINGS)]
        self._group = LocalGroup(2, target, self._log.parent, env={"PYTHONPATH": ROOT})
        begun = time.time()
        self._group.start()
        try:
            self.fresh_s = self._stepped(1) - begun
            self.fresh_cpu_s = used_by(self._group)
            reached = logged_steps(directory)
            while logged_steps(directory) < reached + 12:
                self._goes_on()
            before, killed = used_by(self._group), time.time()
            os.kill(trainer_pid(self._group, ("worker", 1)), signal.SIGKILL)
            self.recovery_s = self._stepped(2) - killed
            self.recovery_cpu_s = used_by(self._group) - before
        finally:
            self._group.stop(grace_s=0.0)
        (_, life), (_, used) = phases(self._log), phases(self._log, processor=True)
        self.parts = {"notice, restart, fork": life["imported"] - killed}
        self.parts |= {f"{one} to {two}": life[two] - life[one] for one, two in itertools.pairwise(PHASES)}
        self.work = {f"{one} to {two}": used[two] - used[one] for one, two in itertools.pairwise(PHASES)}

    def _stepped(self, generation: int) -> float:
        while True:
            lives = phases(self._log)
            assert len(lives) <= generation, f"it started {len(lives)} times: {self._log.read_text()[-3000:]}"
            if len(lives) == generation and "stepped" in lives[-1]:
                return lives[-1]["stepped"]
            self._goes_on()

    def _goes_on(self) -> None:
        code = self._group.wait(timeout_s=0.1)
        assert code is None, f"the group ended with {code}: {self._log.read_text()[-3000:]}"


@pytest.mark.full
@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_recovery_from_kill_to_next_step(benchmark, tmp_path):
    Life(tmp_path, 0)  # its checkpoints are what all others begin with
    lives: list[Life] = []
    benchmark.pedantic(lambda: lives.extend(Life(tmp_path, number) for number in range(1, PAIRS + 1)), rounds=1)
    result = PairedResult(
        wall_ratios=tuple(life.fresh_s / life.recovery_s for life in lives),
        cpu_ratios=tuple(life.fresh_cpu_s / life.recovery_cpu_s for life in lives),
        ours_s=statistics.median(life.recovery_s for life in lives),
        peer_s=statistics.median(life.fresh_s for life in lives),
        ours_cpu_s=statistics.median(life.recovery_cpu_s for life in lives),
        peer_cpu_s=statistics.median(life.fresh_cpu_s for life in lives),
    )
    benchmark.extra_info.update(
        parts_s={name: round(statistics.median(life.parts[name] for life in lives), 3) for name in lives[0].parts},
        processor_s={name: round(statistics.median(life.work[name] for life in lives), 3) for name in lives[0].work},
    )
    record_pair(
        benchmark,
        result,
        "a fresh start of the group",
        what="kill -9 of one of two workers to the group's next step",
        headline=True,
    )
    print(f"{benchmark.name}: {benchmark.extra_info['parts_s']}; processor: {benchmark.extra_info['processor_s']}")
