"""Seconds from kill -9 of a worker to the next step of the group, with its parts, against a fresh start of the same group.

The peer is what a restart costs without standby and supervisor: starting the group anew (import, connect, build, restore, first step).
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

import pytest

from tests.system.trainers.test_group_faults import logged_steps, trainer_pid
from trainers.supervision.local_group import LocalGroup

ROOT = str(Path(__file__).parents[3])
KILLS = int(os.environ.get("FULLPASS_BENCH_KILLS", "3"))
PHASES = ("imported", "connected", "built", "restored", "stepped")


LINE = re.compile(r"phase (\w+) of generation (\d+) at ([\d.]+), ([\d.]+) s of processor time")


def phases(log: Path, processor: bool = False) -> list[dict[str, float]]:
    """Returns, for each generation, phase name to the time at which the first worker's process reached it.

    With `processor` it is the processor seconds that the process had used by then, which a busy machine does not stretch.
    """
    found: dict[int, dict[str, float]] = {}
    for name, generation, at, used in LINE.findall(log.read_text()):
        found.setdefault(int(generation), {})[name] = float(used if processor else at)
    return [found[g] for g in sorted(found)]


@pytest.mark.full
@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_recovery_from_kill_to_next_step(benchmark, tmp_path):
    settings = {"records": 3200, "every_steps": 8, "epochs": 30, "pause_s": 0.05}
    target = ["tests.support.group_target:train", str(tmp_path / "out"), json.dumps(settings)]
    running = LocalGroup(2, target, tmp_path / "logs", env={"PYTHONPATH": ROOT})
    log = tmp_path / "logs" / "worker-0.supervisor.log"
    killed: list[float] = []
    begun: list[float] = []

    def run() -> None:
        begun.append(time.time())
        running.start()
        try:
            for generation in range(1, KILLS + 2):
                while len(phases(log) if log.exists() else []) < generation or "stepped" not in phases(log)[-1]:
                    assert running.wait(timeout_s=0.1) is None
                reached = logged_steps(tmp_path)
                while logged_steps(tmp_path) < reached + 12:
                    assert running.wait(timeout_s=0.1) is None
                if generation <= KILLS:
                    killed.append(time.time())
                    os.kill(trainer_pid(running, ("worker", 1)), signal.SIGKILL)
        finally:
            running.stop(grace_s=0.0)

    benchmark.pedantic(run, rounds=1)
    lives = phases(log)
    assert len(lives) == KILLS + 1
    recoveries = [life["stepped"] - at for life, at in zip(lives[1:], killed)]
    parts = {"notice, restart, fork": [life["imported"] - at for life, at in zip(lives[1:], killed)]}
    used = phases(log, processor=True)[1:]
    work = {}
    for before, after in itertools.pairwise(PHASES):
        parts[f"{before} to {after}"] = [life[after] - life[before] for life in lives[1:]]
        work[f"{before} to {after}"] = [life[after] - life[before] for life in used]
    fresh = lives[0]["stepped"] - begun[0]
    benchmark.extra_info.update(
        recovery_s={"median": statistics.median(recoveries), "min": min(recoveries), "max": max(recoveries)},
        parts_s={name: round(statistics.median(values), 3) for name, values in parts.items()},
        processor_s={name: round(statistics.median(values), 3) for name, values in work.items()},
        fresh_start_s=fresh,
        ratio_to_fresh_start=statistics.median(recoveries) / fresh,
    )
    print(f"\n{benchmark.extra_info}")
