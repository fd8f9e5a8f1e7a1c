"""Jobs on a real cluster: the verbs, and that nothing is left."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time

import pytest

from cluster import JobSpec, JobState, LauncherError, Resources, SecretEnv, Volume, launcher
from cluster.launchers import JobNotFound
from tests.clusters.kubernetes_fixtures import busybox_job, fullpass_job
from tests.support.eventually import eventually
from tests.support.servers.kubernetes.cluster import Cluster

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3000)]


def left(kube: Cluster) -> str:
    """Returns everything of Fullpass's jobs that the API still knows."""
    return kube.kubectl("get", "jobs,pods,services,configmaps", "-l", "fullpass/job", "-o", "name")


def fullpass(*words: str) -> list[str]:
    return [sys.executable, "-m", "cluster.cli.main", *words]


def test_members_find_each_other_and_states_follow(kube, kubernetes_jobs):
    script = """
    case $TF_CONFIG in *'"index": 0'*) other=pair-1.pair ;; *) other=pair-0.pair ;; esac
    (while :; do echo "hello from $(hostname)" | nc -l -p 2222; done) &
    for i in $(seq 100); do answer=$(nc -w 2 $other 2222 </dev/null); [ -n "$answer" ] && break; sleep 0.2; done
    echo "$answer"; sleep 3; [ -n "$answer" ]
    """
    handle = kubernetes_jobs.submit(busybox_job("pair", script, roles={"worker": 2}))
    seen: list[JobState] = []
    status = handle.wait(timeout_s=400, poll_s=0.2, on_change=lambda s: seen.append(s.state))
    assert status.state is JobState.SUCCEEDED, status
    assert [state for state, _ in itertools.groupby(seen)] == [
        JobState.PENDING,
        JobState.RUNNING,
        JobState.SUCCEEDED,
    ] or ([state for state, _ in itertools.groupby(seen)] == [JobState.RUNNING, JobState.SUCCEEDED])
    said = {(line.role, line.index): line.text for line in handle.logs()}
    assert said == {("worker", 0): "hello from pair-1", ("worker", 1): "hello from pair-0"}
    assert [job.name for job in kubernetes_jobs.list()] == ["pair"]
    handle.cancel()
    assert left(kube) == ""
    with pytest.raises(JobNotFound, match="not found"):
        handle.status()


def test_following_takes_up_a_lost_connection_without_losing_or_repeating_a_line(kube, kubernetes_jobs):
    script = 'for i in $(seq 1 120); do echo "line $i"; sleep 0.1; done'
    handle = kubernetes_jobs.submit(busybox_job("talk", script, roles={"worker": 2}))
    got: dict[int, list[str]] = {0: [], 1: []}
    cuts = 0
    for line in handle.logs(follow=True):
        got[line.index].append(line.text)
        if cuts < 2 and len(got[0]) >= 40 * (cuts + 1):
            cuts += 1
            kube.disconnect()
            time.sleep(1.5)  # lines are written meanwhile
            kube.connect()
    assert cuts == 2
    assert got == {index: [f"line {i}" for i in range(1, 121)] for index in (0, 1)}
    assert handle.wait(timeout_s=400).state is JobState.SUCCEEDED
    handle.cancel()


def test_ctrl_c_leaves_the_job_running_and_cancel_leaves_nothing(kube, kubernetes_jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("FULLPASS_STATE_DIR", str(tmp_path))
    description = tmp_path / "job.json"
    description.write_text(
        busybox_job("steady", "while :; do echo tick; sleep 0.2; done", files={"a.txt": "x"}).to_json()
    )
    words = fullpass("submit", "--launcher", "kubernetes", "--spec", str(description), "--follow")
    # Where the tests run in the background of a shell, SIGINT is ignored, and so by all that they start.
    words = ["env", "--default-signal=INT", *words]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "[worker-0] tick\n" or pytest.fail(process.stderr.read())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "steady goes on" in errors and "fullpass cancel steady" in errors
    assert kubernetes_jobs.status("steady").state is JobState.RUNNING
    shown = subprocess.run(fullpass("status", "steady", "--json"), capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)[0]["tasks"][0]["state"] == "running"
    subprocess.run(fullpass("cancel", "steady"), capture_output=True, check=True)
    assert left(kube) == ""


def test_secrets_files_and_volumes_reach_the_pod(kube, kubernetes_jobs):
    kube.kubectl("create", "secret", "generic", "store", "--from-literal=token=s3cret")
    script = """
    echo "$TOKEN $A $(cat /fullpass/files/a.txt) $(df /cache | tail -1 | cut -d" " -f1)"
    touch /cache/x /tmp/y; touch /z || id -u
    """
    spec = busybox_job(
        "parts",
        script,
        env={"A": "$(TOKEN)"},
        secrets=(SecretEnv(name="TOKEN", secret="store", key="token"),),
        files={"a.txt": "text"},
        volumes=(Volume(mount_path="/cache", empty_dir=True, medium="Memory", size="8Mi"),),
    )
    handle = kubernetes_jobs.submit(spec)
    assert handle.wait(timeout_s=400).state is JobState.SUCCEEDED
    lines = {line.text for line in handle.logs()}  # in any order: output and errors are two streams
    assert {"s3cret $(TOKEN) text tmpfs", "touch: /z: Read-only file system", "1000"} == lines
    handle.cancel()


def test_dry_run_on_the_server_checks_everything_and_creates_nothing(kube, kubernetes_jobs):
    kubernetes_jobs.submit(busybox_job("tried", "true", roles={"worker": 2}, files={"a.txt": "x"}), dry_run=True)
    assert left(kube) == ""
    with pytest.raises(LauncherError, match="already"):
        kubernetes_jobs.submit(busybox_job("tried", "true"))
        kubernetes_jobs.submit(busybox_job("tried", "true"))
    kubernetes_jobs.cancel("tried")
    with pytest.raises(LauncherError, match="this cluster does not know it; install KubeRay"):
        launcher("kubernetes", kind="rayjob", kubeconfig=str(kube.kubeconfig)).submit(busybox_job("ray", "true"))


def test_a_submit_that_fails_half_way_leaves_nothing(kube, kubernetes_jobs):
    kube.kubectl("create", "configmap", "halfway-files")  # in the way of the job's own
    with pytest.raises(LauncherError, match="halfway-files"):
        kubernetes_jobs.submit(busybox_job("halfway", "sleep 60", files={"a.txt": "x"}))
    eventually(lambda: left(kube) == "", "nothing is left", 30, poll_s=0.5)
    kube.kubectl("delete", "configmap", "halfway-files")


def test_roles_in_one_job_end_with_their_trainers(kubernetes_jobs):
    """Parameter servers never end by themselves: the job succeeds when chief and workers do."""
    script = "import os, time; print(os.environ['TF_CONFIG']); time.sleep(600 if '\"type\": \"ps\"' in os.environ['TF_CONFIG'] else 1)"
    spec = fullpass_job(
        "roles",
        command=("python", "-c", script),
        roles={"chief": 1, "worker": 1, "ps": 1},
        resources=Resources(cpu="500m", memory="256Mi", ephemeral_storage="512Mi"),
        grace_s=1,
    )
    handle = kubernetes_jobs.submit(spec)
    status = handle.wait(timeout_s=400)
    assert status.state is JobState.SUCCEEDED, status
    tasks = {json.loads(line.text)["task"]["type"] for line in handle.logs() if line.text.startswith("{")}
    assert tasks >= {"chief", "worker"}
    handle.cancel()


def test_the_description_from_json_runs_as_the_one_in_python(kubernetes_jobs):
    spec = JobSpec.from_json(busybox_job("again", "echo same").to_json())
    handle = kubernetes_jobs.submit(spec)
    assert [line.text for line in handle.logs(follow=True)] == ["same"]
    handle.cancel()
