"""JobSet, TrainJob and TFJob under their real operators; RayJob is in test_kubernetes_rayjob.py."""

from __future__ import annotations

import pytest

from cluster import JobState, LauncherError, Resources, launcher
from tests.clusters.kubernetes_fixtures import busybox_job, fullpass_job, need_operator

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3000)]

OPERATORS = {"jobset": ("jobset",), "trainjob": ("jobset", "trainer"), "tfjob": ("training-operator",)}
OBJECTS = "jobs,pods,services,configmaps"

# Each member listens at its own address in TF_CONFIG and greets every other at theirs.
GREET = """
import json, os, socket, threading, time
config = json.loads(os.environ["TF_CONFIG"])
role, index = config["task"]["type"], config["task"]["index"]
server = socket.create_server(("", int(config["cluster"][role][index].rpartition(":")[2])))
def greet():
    while True:
        client, _ = server.accept()
        client.sendall(f"{role}-{index}".encode())
        client.close()
threading.Thread(target=greet, daemon=True).start()
for other, members in sorted(config["cluster"].items()):
    for number, address in enumerate(members):
        host, _, port = address.rpartition(":")
        for attempt in range(300):
            try:
                with socket.create_connection((host, int(port)), 2) as peer:
                    said = peer.recv(100).decode()
                break
            except OSError:
                time.sleep(0.2)
        assert said == f"{other}-{number}", (address, said)
        print("met", said, flush=True)
# The chief last: its end is the end of a TFJob, whose operator then deletes whoever still runs, and the log with it.
time.sleep({"ps": 600, "chief": 12}.get(role, 2))
"""


@pytest.fixture(params=sorted(OPERATORS))
def place(request, kube):
    """A launcher of each kind, its operator running."""
    for name in OPERATORS[request.param]:
        need_operator(kube, name)
    return launcher("kubernetes", kind=request.param, kubeconfig=str(kube.kubeconfig))


def test_a_job_of_this_kind_runs_to_the_end_and_leaves_nothing(kube, place):
    roles = {"worker": 2} if place.name.endswith("trainjob") else {"chief": 1, "worker": 2, "ps": 1}
    kind = place.name.rpartition("/")[2]
    spec = fullpass_job(
        f"greet-{kind}",
        command=("python", "-c", GREET),
        roles=roles,
        resources=Resources(cpu="400m", memory="128Mi", ephemeral_storage="512Mi"),
        files={"note.txt": "x"},
        grace_s=1,
    )
    place.submit(spec, dry_run=True)
    assert place.list() == []
    handle = place.submit(spec)
    status = handle.wait(timeout_s=400)
    assert status.state is JobState.SUCCEEDED, status
    everybody = {f"met {role}-{index}" for role, index in spec.members()}
    said: dict[tuple[str, int], set[str]] = {}
    for line in handle.logs():
        said.setdefault((line.role, line.index), set()).add(line.text)
    trainers = {member: everybody for member in spec.members() if member[0] != "ps"}
    assert {member: lines for member, lines in said.items() if member[0] != "ps"} == trainers
    handle.cancel()
    assert kube.kubectl("get", OBJECTS, "-l", "fullpass/job", "-o", "name") == ""


def test_a_member_that_fails_for_good_fails_the_job_with_its_last_lines(place):
    kind = place.name.rpartition("/")[2]
    # 3 is an error of the program; TFJob restarts such a container in its pod, the others replace the pod.
    handle = place.submit(busybox_job(f"bad-{kind}", "echo 'no such column: age'; exit 3"))
    status = handle.wait(timeout_s=400)
    assert status.state is JobState.FAILED, status
    if kind != "tfjob":  # its operator deletes the pod that failed last, and the log with it
        assert "no such column: age" in status.message
    handle.cancel()


def test_a_ray_job_is_refused_where_there_is_no_operator(kube):
    with pytest.raises(LauncherError, match="install KubeRay's operator"):
        launcher("kubernetes", kind="rayjob", kubeconfig=str(kube.kubeconfig)).submit(busybox_job("ray", "true"))
