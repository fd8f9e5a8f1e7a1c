"""RayJob under KubeRay's real operator: what fails, what is cancelled; test_kubernetes_training.py has the one that succeeds."""

from __future__ import annotations

import pytest

from cluster import JobHandle, JobState, JobStatus, Resources, launcher
from tests.clusters.kubernetes_fixtures import fullpass_job, need_operator
from tests.support.eventually import eventually

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.ray, pytest.mark.timeout(3000)]

OBJECTS = "rayjobs,rayclusters,jobs,pods,configmaps,services"
NOT_OURS = {"configmap/kube-root-ca.crt", "service/kubernetes"}


@pytest.fixture
def place(kube):
    """A launcher of RayJobs, KubeRay running; what a failed test leaves is removed."""
    need_operator(kube, "kuberay")
    place = launcher("kubernetes", kind="rayjob", kubeconfig=str(kube.kubeconfig))
    yield place
    for status in place.list():
        place.cancel(status.name)


def ray_job(name: str, program: str, **changes):
    """Returns a job of Python programs in Ray's nodes."""
    resources = Resources(cpu="600m", memory="1Gi", ephemeral_storage="512Mi")
    return fullpass_job(name, command=("python", "-c", program), resources=resources, grace_s=1, **changes)


def wait_for_line(handle: JobHandle, text: str, role: str, index: int, seconds: float = 300) -> None:
    """Waits until a member has written a line."""

    def ended() -> JobStatus | None:
        status = handle.status()
        return status if status.state.finished else None

    def written() -> bool:
        return text in [line.text for line in handle.logs(role=role, index=index)]

    eventually(written, f"{role}-{index} has written {text!r}", seconds, poll_s=1, unless=ended)


def left(kube) -> set[str]:
    """Returns what is in the namespace, whoever made it."""
    return set(kube.kubectl("get", OBJECTS, "-o", "name").split()) - NOT_OURS


def test_a_dry_run_on_the_server_creates_nothing(kube, place):
    place.submit(ray_job("tried", "", roles={"worker": 2, "ps": 1}, files={"note.txt": "x"}), dry_run=True)
    assert place.list() == []


def test_a_running_job_is_cancelled_and_nothing_of_it_is_left(kube, place, tmp_path):
    program = "import os, time; print('here', os.environ['A'], flush=True); time.sleep(600)"
    handle = place.submit(ray_job("endless", program, roles={"worker": 2}, env={"A": "b"}))
    for index in (0, 1):
        wait_for_line(handle, "here b", "worker", index)
    status = handle.status()
    assert status.state is JobState.RUNNING
    assert [f"{task.role}-{task.index}" for task in status.tasks] == ["head-0", "node-0", "node-1", "submitter-0"]
    handle.cancel()
    # The service and Job of the operator follow their owners.
    eventually(lambda: not left(kube), "nothing is left", 30, poll_s=0.5)


def test_a_member_that_fails_for_good_fails_the_job_with_its_last_lines(place):
    handle = place.submit(ray_job("bad", "import sys; print('no such column: age'); sys.exit(2)", max_restarts=0))
    status = handle.wait(timeout_s=300)
    assert status.state is JobState.FAILED and status.finished, status
    assert "worker-0 ended with exit code 2" in status.message and "no such column: age" in status.message
    assert "no such column: age" in [line.text for line in handle.logs(role="worker")]
    handle.cancel()
