"""What is said of jobs that fail or wait on a real cluster: each case is provoked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from cluster import JobHandle, JobState, Launcher, LauncherError, Resources, SecretEnv, Volume, launcher
from tests.clusters.kubernetes_fixtures import busybox_job, fullpass_job
from tests.support.eventually import eventually
from tests.support.servers.kubernetes.cluster import Cluster

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3000)]


def wait_for(place: Launcher, name: str, said: str, seconds: float = 60) -> str:
    """Returns the job's message as soon as it has these words."""
    message = ""

    def heard() -> bool:
        nonlocal message
        message = place.status(name).message
        return said in message

    try:
        eventually(heard, f"the job says {said!r}", seconds, poll_s=0.5)
    except AssertionError as error:
        raise AssertionError(f"{error}; it says {message!r}") from None
    return message


@pytest.fixture(scope="module")
def failing(kube: Cluster) -> Iterator[dict[str, JobHandle]]:
    """Jobs that end in vain after a while, by their names: submitted together, since their ends are waited for."""
    kube.kubectl("create", "namespace", "failing")
    place = launcher("kubernetes", kubeconfig=str(kube.kubeconfig), namespace="failing")
    small = Resources(cpu="200m", memory="40Mi", ephemeral_storage="512Mi")
    cache = Volume(mount_path="/cache", empty_dir=True, size="8Mi")
    specs = [
        busybox_job("greedy", "tail /dev/zero", resources=small),
        # One stream: between two the runtime keeps no order.
        busybox_job("crash", "echo loading >&2; echo 'ValueError: no column age' >&2; exit 3", max_restarts=1),
        busybox_job("slow", "sleep 60", timeout_s=3),
        busybox_job("writer", "head -c 30000000 /dev/zero > /cache/x; echo written; sleep 600", volumes=(cache,)),
    ]
    yield {spec.name: place.submit(spec) for spec in specs}
    kube.kubectl("delete", "namespace", "failing", "--wait=false")


def test_a_pod_that_is_killed_for_memory_says_its_limit(failing):
    status = failing["greedy"].wait(timeout_s=400)
    assert status.state is JobState.FAILED
    assert "worker-0: out of memory (OOMKilled): its memory reached the limit of 40Mi" in status.message


def test_a_crash_says_its_last_lines_and_wrong_input_is_not_tried_again(failing):
    status = failing["crash"].wait(timeout_s=400)
    assert status.state is JobState.FAILED and status.tasks[0].restarts == 1
    assert "worker-0: exit code 3; its last lines: loading | ValueError: no column age" in status.message


def test_unschedulable_says_why_and_what_was_asked(kubernetes_jobs):
    spec = busybox_job(
        "huge",
        "true",
        resources=Resources(cpu="900", memory="64Mi", ephemeral_storage="512Mi"),
        node_selector={"pool": "gpu"},
    )
    handle = kubernetes_jobs.submit(spec)
    message = wait_for(kubernetes_jobs, "huge", "no node can take it")
    assert "didn't match Pod's node affinity/selector" in message
    assert "cpu 900" in message and "pool=gpu" in message
    assert handle.status().state is JobState.PENDING
    handle.cancel()


def test_an_image_that_cannot_be_pulled_is_named(kubernetes_jobs):
    handle = kubernetes_jobs.submit(busybox_job("absent", "true", image="localhost/absent:1"))
    message = wait_for(kubernetes_jobs, "absent", "cannot be pulled")
    assert "image localhost/absent:1 cannot be pulled: it is not on the node and image_pull_policy is Never" in message
    handle.cancel()
    # Nothing listens there: a registry out of reach.
    spec = busybox_job("remote", "true", image="127.0.0.1:9/absent:1", image_pull_policy="Always")
    handle = kubernetes_jobs.submit(spec)
    message = wait_for(kubernetes_jobs, "remote", "connection refused")
    assert "image 127.0.0.1:9/absent:1 cannot be pulled" in message and "image_pull_secrets" in message
    handle.cancel()


def test_deadline_and_missing_secret_are_told(failing, kubernetes_jobs):
    status = failing["slow"].wait(timeout_s=400)
    assert status.state is JobState.FAILED and "DeadlineExceeded" in status.message
    spec = busybox_job("keyless", "true", secrets=(SecretEnv(name="A", secret="nowhere", key="a"),))
    handle = kubernetes_jobs.submit(spec)
    wait_for(kubernetes_jobs, "keyless", 'secret "nowhere" not found')
    handle.cancel()


def test_an_exceeded_quota_is_told_with_its_numbers(kube):
    kube.kubectl("create", "namespace", "small")
    kube.kubectl("-n", "small", "create", "quota", "team", "--hard=limits.memory=48Mi,limits.cpu=1,requests.cpu=1")
    place = launcher("kubernetes", kubeconfig=str(kube.kubeconfig), namespace="small")
    handle = place.submit(
        busybox_job("two", "sleep 30", resources=Resources(cpu="100m", memory="64Mi", ephemeral_storage="512Mi"))
    )
    message = wait_for(place, "two", "quota team is exceeded")
    assert "limits.memory=64Mi" in message and "the limit is limits.memory=48Mi" in message
    handle.cancel()


def test_what_may_not_be_done_says_which_verb_on_what(kube, tmp_path):
    kube.kubectl("create", "serviceaccount", "guest")
    token = kube.kubectl("create", "token", "guest").strip()
    config = yaml.safe_load(kube.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = tmp_path / "guest"
    path.write_text(yaml.safe_dump(config))
    guest = launcher("kubernetes", kubeconfig=str(path))
    with pytest.raises(LauncherError) as error:
        guest.submit(busybox_job("mine", "true"))
    assert "'system:serviceaccount:default:guest' may not create jobs.batch in namespace default" in str(error.value)
    config["users"][0]["user"] = {"token": "wrong"}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(LauncherError, match="does not accept these credentials"):
        launcher("kubernetes", kubeconfig=str(path)).list()


def test_a_refused_job_says_what_the_cluster_refuses(kubernetes_jobs):
    spec = busybox_job("odd", "true", image_pull_policy="Never", priority_class="no-such-class")
    handle = kubernetes_jobs.submit(spec)
    assert "no PriorityClass with name no-such-class was found" in wait_for(kubernetes_jobs, "odd", "cannot be created")
    handle.cancel()


GREEDY = """
import sys
blocks = []
while True:
    blocks.append(bytes(range(256)) * (1 << 16))  # 16 MiB, every page of it written
"""


def test_a_training_that_is_killed_for_memory_says_peak_and_limit(kubernetes_jobs):
    """The supervisor outlives its training process, or goes with it: either way both numbers are reported."""
    spec = fullpass_job(
        "hungry",
        module="/fullpass/files/greedy.py",
        files={"greedy.py": GREEDY},
        resources=Resources(cpu="900m", memory="1500Mi", ephemeral_storage="512Mi"),
        max_restarts=1,
        grace_s=1,
    )
    handle = kubernetes_jobs.submit(spec)
    status = handle.wait(timeout_s=400)
    assert status.state is JobState.FAILED
    assert "worker-0: out of memory" in status.message
    assert "peaked at 1,500 MiB, the limit is 1,500 MiB" in status.message or "limit of 1500Mi" in status.message
    handle.cancel()


def test_a_pod_that_writes_more_than_its_volume_may_hold_is_evicted_and_says_so(failing):
    status = failing["writer"].wait(timeout_s=400)
    assert status.state is JobState.FAILED
    assert "worker-0: evicted from node node0: " in status.message and '"8Mi"' in status.message
    assert "size" in status.message
