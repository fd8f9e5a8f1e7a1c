"""A training of four pods that are removed at random; at its end every bit is that of a quiet run.

FULLPASS_SOAK_S: seconds of faults (default 40). FULLPASS_SOAK_SEED: which faults, and when (default 20). FULLPASS_SOAK_WORKERS:
default 4. The figures of the last long one are in docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from cluster import JobHandle, Launcher, Resources
from tests.clusters.kubernetes_fixtures import fullpass_job
from tests.clusters.pod_faults import PodFaults
from tests.clusters.soak_results import BATCH, RECORDS, check_records, steps_made
from tests.support.bits import weights_of
from tests.support.eventually import eventually

SECONDS = float(os.environ.get("FULLPASS_SOAK_S", "40"))
SEED = int(os.environ.get("FULLPASS_SOAK_SEED", "20"))
WORKERS = int(os.environ.get("FULLPASS_SOAK_WORKERS", "4"))
PAUSE_S = 0.1 if SECONDS <= 300 else 0.3  # a long one waits more and computes less
# Four steps a call, each with its pause: undisturbed, the run would take about a third of the time of the faults, or an eighth.
EPOCHS = max(6, int(SECONDS / (3 if SECONDS <= 300 else 8) / (PAUSE_S * RECORDS / BATCH / 4)))
STEPS = EPOCHS * RECORDS // BATCH
LAST_CALL = STEPS - 40  # begins no earlier than all faults are made
LEAST_FAULTS = 2
# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(int(3000 + 6 * SECONDS))]


def submit(place: Launcher, name: str, folder: Path, pause_s: float) -> JobHandle:
    """Starts the training of four pods that writes to folder/NAME/out."""
    settings = {"records": RECORDS, "every_steps": 8, "epochs": EPOCHS, "pause_s": pause_s}
    spec = fullpass_job(
        name,
        folder,
        command=(),
        module="tests.support.group_target:train",
        args=(str(folder / name / "out"), json.dumps(settings)),
        roles={"worker": WORKERS},
        resources=Resources(cpu="100m", memory="2Gi", ephemeral_storage="512Mi"),
        pod_patch={
            "spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "2"}}}]}
        },  # else it only imports
        silent_after_s=300,
        max_restarts=10_000,
        grace_s=5,
    )
    return place.submit(spec)


def finish(handle: JobHandle, timeout_s: float) -> None:
    status = handle.wait(timeout_s=timeout_s)
    assert status.state.value == "succeeded", f"{status}\n" + "\n".join(map(str, handle.logs(tail=30)))


def test_pods_removed_at_random_end_bit_identically_with_every_record_once(kube, kubernetes_jobs, tmp_path, capsys):
    quiet = submit(kubernetes_jobs, "soak-quiet", tmp_path, 0.0)
    finish(quiet, 600 + SECONDS)
    quiet.cancel()

    out, gate = tmp_path / "soak-hurt" / "out", tmp_path / "soak-hurt" / "gates" / str(LAST_CALL)
    gate.parent.mkdir(parents=True)
    gate.touch()
    handle = submit(kubernetes_jobs, "soak-hurt", tmp_path, PAUSE_S)

    def ended() -> object:
        status = handle.status()
        return status if status.state.finished else None

    dice = random.Random(SEED)
    faults, began = PodFaults(kube, handle, dice), time.monotonic()

    def few() -> bool:
        return sum(faults.made.values()) < LEAST_FAULTS

    def goes_on(seen: int) -> int:
        """Returns the step that it is at when it has gone on since the last fault: else all that is tested is the start."""
        made = steps_made(out)
        return made if made > seen or (made and made >= LAST_CALL - 4) else 0

    seen = eventually(lambda: steps_made(out), "the training has begun", 600, poll_s=0.2, unless=ended)
    began = time.monotonic()
    while few() or (time.monotonic() - began < SECONDS and seen < LAST_CALL - 4):
        faults.make_one()
        now = seen
        seen = eventually(lambda now=now: goes_on(now), f"it goes on after step {now}", 1200, poll_s=0.2, unless=ended)
    gate.unlink()
    finish(handle, 900 + 3 * SECONDS)
    pods = {str(line).partition("]")[0] for line in handle.logs(tail=1)}
    figures = {
        "seed": SEED, "workers": len(pods), "seconds": round(time.monotonic() - began), "steps": STEPS,
        "faults": dict(sorted(faults.made.items())),
    }  # fmt: skip
    with capsys.disabled():
        print(f"\nsoak of pods: {json.dumps(figures)}")
    handle.cancel()
    check_records(out, EPOCHS)
    assert weights_of(str(out)) == weights_of(str(tmp_path / "soak-quiet" / "out"))
