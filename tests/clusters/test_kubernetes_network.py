"""NetworkPolicies that are enforced: what our jobs and k8s/ render, tried by real connections between pods.

kube-router's firewall turns the policies into rules of the kernel (`tests.support.servers.kubernetes.firewall`). Before it
starts, a stranger reaches a job's ports: what refuses him afterwards is the policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cluster import JobState, launcher
from tests.clusters.kubernetes_fixtures import busybox_job
from tests.support.eventually import eventually
from tests.support.servers.kubernetes.binaries import Unavailable, ensure_program
from tests.support.servers.kubernetes.cluster import Cluster
from tests.support.servers.kubernetes.firewall import enforced_policies
from tests.support.servers.kubernetes.images import BUSYBOX

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3000)]

K8S = Path(__file__).parents[2] / "k8s"
GRPC, RENDEZVOUS, DASHBOARD = 2222, 2223, 8265
LISTEN = "for p in {ports}; do (while :; do echo open | nc -l -p $p; done) & done; sleep 3600"
STRANGERS = ("theirs-0", "beam-0", "flink", "store", "passer-by", "operator")
JOB = LISTEN.format(ports=f"{GRPC} {RENDEZVOUS}")
# What else is refused under the policies, reached before: a refusal is then not that of a port where nobody listens.
REFUSED_LATER = (
    ("ours-0", "flink", 8081),
    ("operator", "ray-head", 6379),
    ("passer-by", "ray-head", DASHBOARD),
    *(("ours-0", "store", port) for port in (443, 9000, 9001)),
)


@dataclass(frozen=True, kw_only=True)
class Network:
    """Pods by short names, and what reaches what."""

    kube: Cluster
    pods: dict[str, tuple[str, str, str]]

    def reaches(self, source: str, target: str, port: int, attempts: int = 1) -> bool:
        """Tells whether one of these connections from one pod to a port of another gets the listener's word.

        Half a second apart, each beside those before it: a refusal is heard with the second packet, a second after the first.
        """
        namespace, name, _ = self.pods[source]
        connect = f"nc -w 2 {self.pods[target][2]} {port}"
        words = ("sh", "-c", f"for more in $(seq 2 {attempts}); do {connect} & sleep 0.5; done; {connect}; wait")
        return "open" in self.kube.kubectl("-n", namespace, "exec", name, "--", *words, stdin="", check=False)

    def opens(self, source: str, target: str, port: int) -> bool:
        """Waits until it reaches it: a listener is away for a moment after each answer, a rule comes a moment after its policy."""
        return eventually(lambda: self.reaches(source, target, port), f"{source} reaches {target}:{port}", poll_s=0.2)

    def refuses(self, source: str, target: str, port: int) -> bool:
        """Tells whether three attempts in a row were in vain."""
        return not self.reaches(source, target, port, attempts=3)

    def closes(self, source: str, target: str, port: int) -> bool:
        """Waits until it does not reach it any more."""
        return eventually(lambda: self.refuses(source, target, port), f"{source} does not reach {target}:{port}")


def pod(name: str, namespace: str, labels: dict[str, str], ports: str) -> dict:
    """Returns a pod that listens, by the strictest standard of pod security."""
    container = {
        "name": "main",
        "image": BUSYBOX,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", LISTEN.format(ports=ports)],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"limits": {"cpu": "1", "memory": "32Mi"}, "requests": {"cpu": "50m"}},
    }
    any_port = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}  # 443 is for root alone otherwise
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
        "sysctls": [any_port],
    }
    spec = {"containers": [container], "securityContext": security, "terminationGracePeriodSeconds": 0}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def rayjob_head() -> list[dict]:
    """Returns the policy of a RayJob as the launcher renders it, and a pod with its head's labels: the operator need not run."""
    spec = busybox_job("ray", "", command=("true",))
    rendered = launcher("kubernetes", kind="rayjob", namespace="fullpass").render(spec)
    (policy,) = (obj for obj in rendered if obj["kind"] == "NetworkPolicy")
    (job,) = (obj for obj in rendered if obj["kind"] == "RayJob")
    labels = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["metadata"]["labels"]
    policy["metadata"]["namespace"] = "fullpass"
    return [policy, pod("ray-head", "fullpass", {**labels, "ray.io/node-type": "head"}, f"{DASHBOARD} 6379")]


@pytest.fixture(scope="module")
def network(kube: Cluster) -> Iterator[Network]:
    """Two jobs, a client of Flink, a Ray head, a store and strangers; no rule is enforced yet."""
    try:
        ensure_program("kube-router")
    except Unavailable as reason:
        pytest.skip(f"no kube-router here: {reason}")
    kube.kubectl("apply", "-k", str(K8S / "base"))
    for namespace in ("minio", "ray-system"):
        kube.kubectl("create", "namespace", namespace)
    place = launcher("kubernetes", kubeconfig=str(kube.kubeconfig), namespace="fullpass")
    try:
        place.submit(busybox_job("ours", JOB, roles={"worker": 2}))
        place.submit(busybox_job("theirs", JOB))
        place.submit(busybox_job("beam", JOB, beam_runner="flink"))
        objects = [
            pod("flink", "fullpass", {"fullpass/runner": "flink"}, "8081"),
            pod("store", "minio", {"app": "minio"}, "443 9000 9001"),
            pod("operator", "ray-system", {"app.kubernetes.io/component": "kuberay-operator"}, "9"),
            pod("passer-by", "ray-system", {}, "9"),
            *rayjob_head(),
        ]
        kube.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
        yield Network(kube=kube, pods=eventually(lambda: running(kube, 9), "all pods run", timeout_s=120, poll_s=0.5))
    finally:
        kube.kubectl("delete", "namespace", "fullpass", "minio", "ray-system", "--ignore-not-found")


def running(kube: Cluster, expected: int) -> dict[str, tuple[str, str, str]]:
    """Returns pods by short names ("ours-0" for what a Job calls ours-0-x7k2p), or nothing while one is not ready."""
    found = {}
    for item in json.loads(kube.kubectl("get", "pods", "-A", "-o", "json"))["items"]:
        metadata, address = item["metadata"], item["status"].get("podIP")
        name = metadata["name"]
        if metadata["namespace"] not in ("fullpass", "minio", "ray-system"):
            continue
        if item["status"]["phase"] != "Running" or not address:
            return {}
        short = name.rpartition("-")[0] if metadata.get("ownerReferences") else name
        found[short] = (metadata["namespace"], name, address)
    return found if len(found) == expected else {}


@pytest.fixture(scope="module")
def enforced(network: Network) -> Iterator[Network]:
    """The same, enforced."""
    for stranger in STRANGERS:
        for port in (GRPC, RENDEZVOUS):
            assert network.opens(stranger, "ours-0", port), "nothing but the policy keeps strangers out"
    for source, target, port in REFUSED_LATER:
        assert network.opens(source, target, port)
    with enforced_policies(network.kube):
        network.closes("theirs-0", "ours-0", GRPC)
        yield network


def test_members_of_a_job_reach_each_other(enforced):
    for port in (GRPC, RENDEZVOUS):
        assert enforced.opens("ours-0", "ours-1", port)
        assert enforced.opens("ours-1", "ours-0", port)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_nobody_else_reaches_a_member(enforced, stranger):
    for port in (GRPC, RENDEZVOUS):
        assert enforced.refuses(stranger, "ours-0", port)


def test_flink_and_the_job_that_submits_to_it_reach_each_other(enforced):
    enforced.kube.kubectl("-n", "fullpass", "apply", "-f", str(K8S / "flink" / "network.yaml"))
    assert enforced.opens("beam-0", "flink", 8081)
    assert enforced.opens("flink", "beam-0", GRPC)
    assert enforced.refuses("ours-0", "flink", 8081)


def test_only_the_operator_reaches_the_dashboard_of_a_ray_job_and_nothing_else_of_it(enforced):
    assert enforced.opens("operator", "ray-head", DASHBOARD)
    assert enforced.refuses("operator", "ray-head", 6379)
    for stranger in ("passer-by", "ours-0", "store"):
        assert enforced.refuses(stranger, "ray-head", DASHBOARD)


def test_what_goes_out_is_the_choice_of_the_namespace(enforced):
    """Nothing without a choice; the object store's pods and port with the one; port 443 with the other."""
    for port in (443, 9000, 9001):
        assert enforced.refuses("ours-0", "store", port)
    store, https = str(K8S / "egress" / "object-store"), str(K8S / "egress" / "https")
    enforced.kube.kubectl("-n", "fullpass", "apply", "-k", store)
    assert enforced.opens("ours-0", "store", 9000)
    for port in (443, 9001):
        assert enforced.refuses("ours-0", "store", port)
    enforced.kube.kubectl("-n", "fullpass", "delete", "-k", store)
    assert enforced.closes("ours-0", "store", 9000)
    enforced.kube.kubectl("-n", "fullpass", "apply", "-k", https)
    assert enforced.opens("ours-0", "store", 443)
    assert enforced.refuses("ours-0", "store", 9000)
    enforced.kube.kubectl("-n", "fullpass", "delete", "-k", https)


def test_a_group_whose_supervisors_meet_by_name_runs_under_the_policies(enforced):
    """Names come from the node's own address here, which is no pod of kube-system: this cluster alone needs that rule."""
    names = {"ipBlock": {"cidr": "10.244.0.1/32"}}
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "names-of-this-cluster", "namespace": "fullpass"},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{"to": [names], "ports": [{"protocol": p, "port": 53} for p in ("UDP", "TCP")]}],
        },
    }
    enforced.kube.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(policy))
    script = """
    case $TF_CONFIG in *'"index": 0'*) other=pair-1.pair ;; *) other=pair-0.pair ;; esac
    (while :; do echo "hello from $(hostname)" | nc -l -p 2222; done) &
    for i in $(seq 200); do answer=$(nc -w 2 $other 2222 </dev/null); [ -n "$answer" ] && break; sleep 0.2; done
    echo "$answer"; sleep 3; [ -n "$answer" ]
    """
    place = launcher("kubernetes", kubeconfig=str(enforced.kube.kubeconfig), namespace="fullpass")
    handle = place.submit(busybox_job("pair", script, roles={"worker": 2}))
    status = handle.wait(timeout_s=400, poll_s=0.5)
    assert status.state is JobState.SUCCEEDED, [str(line) for line in handle.logs()]
    handle.cancel()
