"""Training in pods: two workers under MultiWorkerMirrored, disturbed and not, with bit-identical results."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster import JobHandle, JobState, JobStatus, launcher
from tests.clusters.kubernetes_fixtures import fullpass_job, need_operator
from tests.clusters.pod_faults import largest_process
from tests.support.eventually import eventually
from tests.support.nycflights import flights
from tests.support.servers.kubernetes.images import FULLPASS

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3000)]

STEPS = int(os.environ.get("FULLPASS_KUBERNETES_STEPS", "1000"))
SCRIPT = Path(__file__).with_name("kubernetes_train.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder that pods write to, with real flights in it."""
    folder = tmp_path_factory.mktemp("training")
    frame = flights()[["dep_delay", "distance", "hour", "arr_delay"]].dropna()[:20_000]
    columns = {name: frame[name].to_numpy(np.float32) for name in ("dep_delay", "distance", "hour")}
    columns["late"] = (frame["arr_delay"].to_numpy() > 15).astype(np.int64)
    schema = pa.schema([pa.field(name, pa.from_numpy_dtype(c.dtype), nullable=False) for name, c in columns.items()])
    (folder / "data").mkdir()
    pq.write_table(pa.table(columns, schema=schema), folder / "data" / "flights.parquet", row_group_size=2000)
    return folder


def training(folder: Path, name: str, steps: int = STEPS):
    """Returns a supervised training of two workers that writes to folder/NAME."""
    return fullpass_job(
        name,
        folder,
        command=(),
        module=f"/fullpass/files/{SCRIPT.name}",
        args=(str(folder / "data"), str(folder / name), str(steps)),
        files={SCRIPT.name: SCRIPT.read_text()},
        roles={"worker": 2},
        global_batch_size=64,
    )


def finish(handle: JobHandle, folder: Path) -> dict:
    """Returns what the leading worker wrote when the job has succeeded."""
    status = handle.wait(timeout_s=1200)
    lines = "\n".join(str(line) for line in handle.logs(tail=30))
    assert status.state is JobState.SUCCEEDED, f"{status.message}\n{lines}"
    result = json.loads((folder / handle.name / "result.json").read_text())
    assert result["steps"] == STEPS
    assert (folder / handle.name / "export" / "1" / "saved_model.pb").exists()
    assert (folder / handle.name / "checkpoints" / f"step-{STEPS:012d}").is_dir()
    return result


def wait_for_checkpoint(handle: JobHandle, folder: Path, seconds: float = 300) -> None:
    """Waits until a restart would not begin at the first step."""
    there = folder / handle.name / "checkpoints"

    def ended() -> JobStatus | None:
        status = handle.status()
        return status if status.state.finished else None

    eventually(lambda: any(there.glob("step-*/state.json")), "a checkpoint is there", seconds, poll_s=0.2, unless=ended)


@pytest.fixture(scope="module")
def undisturbed(kube, folder) -> dict:
    """The result of a run that nobody disturbed, followed line by line."""
    handle = launcher("kubernetes", kubeconfig=str(kube.kubeconfig)).submit(training(folder, "calm"))
    lines = {str(line) for line in handle.logs(follow=True)}
    for index in (0, 1):
        assert f"[worker-{index}] training as worker-{index} of 2" in lines
        assert f"[worker-{index}] finished {STEPS} steps, resumed from 0" in lines
    result = finish(handle, folder)
    handle.cancel()
    return result


def test_two_pods_train_one_model(undisturbed):
    assert undisturbed["resumed_from"] == 0


def test_a_deleted_pod_is_replaced_and_the_result_is_bit_identical(kube, kubernetes_jobs, folder, undisturbed):
    handle = kubernetes_jobs.submit(training(folder, "deleted"))
    wait_for_checkpoint(handle, folder)
    victim = handle.status().tasks[1].where
    kube.kubectl("delete", "pod", victim, "--wait=false")
    result = finish(handle, folder)
    assert result["resumed_from"] > 0, "it had finished before the pod was deleted: raise FULLPASS_KUBERNETES_STEPS"
    assert result["digest"] == undisturbed["digest"]
    assert handle.status().tasks[1].where != victim
    handle.cancel()


def test_a_killed_process_is_restarted_and_the_result_is_bit_identical(kube, kubernetes_jobs, folder, undisturbed):
    handle = kubernetes_jobs.submit(training(folder, "killed"))
    wait_for_checkpoint(handle, folder)
    pod = json.loads(kube.kubectl("get", "pod", handle.status().tasks[1].where, "-o", "json"))
    os.kill(largest_process(pod["metadata"]["uid"]), signal.SIGKILL)
    result = finish(handle, folder)
    assert result["resumed_from"] > 0, "it had finished before the kill: raise FULLPASS_KUBERNETES_STEPS"
    assert result["digest"] == undisturbed["digest"]
    assert handle.status().tasks[1].where == pod["metadata"]["name"], "the supervisor restarts within the pod"
    handle.cancel()


def test_the_same_training_as_a_tfjob(kube, folder, undisturbed):
    need_operator(kube, "training-operator")
    place = launcher("kubernetes", kind="tfjob", kubeconfig=str(kube.kubeconfig))
    handle = place.submit(training(folder, "tfjob"))
    assert finish(handle, folder)["digest"] == undisturbed["digest"]
    handle.cancel()


def test_the_same_training_as_a_rayjob_by_the_command_line(
    kube, fullpass_namespace, folder, undisturbed, tmp_path, monkeypatch
):
    """In the namespace of k8s/base, which refuses every pod, KubeRay's own too, that asks for more than it must."""
    need_operator(kube, "kuberay")
    volume = fullpass_namespace
    shutil.copytree(folder / "data", volume / "data")
    monkeypatch.setenv("FULLPASS_STATE_DIR", str(tmp_path / "state"))
    flags = "--launcher kubernetes --kind rayjob --namespace fullpass --name rayjob --workers 2 --global-batch-size 64 "
    flags += f"--cpu 600m --memory 2500Mi --image {FULLPASS} --volume claim=training:/data --grace 5 --follow"
    words = ["--file", SCRIPT, "--module", f"/fullpass/files/{SCRIPT.name}", "--", "/data/data", "/data/rayjob", STEPS]
    command = [sys.executable, "-m", "cluster.cli.main", "submit", *flags.split(), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    for index in (0, 1):  # what the submitter prints for them is marked as theirs
        assert f"[worker-{index}] training as worker-{index} of 2\n" in done.stdout
        assert f"[worker-{index}] finished {STEPS} steps, resumed from 0\n" in done.stdout
    place = launcher("kubernetes", kind="rayjob", kubeconfig=str(kube.kubeconfig), namespace="fullpass")
    handle = JobHandle(place, "rayjob")
    assert finish(handle, volume)["digest"] == undisturbed["digest"]
    assert [line.text for line in handle.logs(role="worker", index=1, tail=1)] == [
        f"finished {STEPS} steps, resumed from 0"
    ]
    # The cluster of a finished job goes at once: its nodes would keep what they asked for.
    of_ray = ("get", "rayclusters,pods", "-l", "ray.io/cluster", "-o", "name")
    eventually(lambda: not kube.kubectl("-n", "fullpass", *of_ray), "its cluster is gone", poll_s=0.5)
    handle.cancel()
