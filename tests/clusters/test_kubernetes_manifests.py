"""k8s/: everything in it is accepted by a real API server, and its least privilege is enough for a job."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster import JobState, LauncherError, launcher
from tests.clusters.kubernetes_fixtures import busybox_job
from tests.support.eventually import eventually
from tests.support.servers.kubernetes.binaries import Unavailable, ensure_programs
from tests.support.servers.kubernetes.cluster import Cluster
from tests.support.servers.kubernetes.operators import install_crds
from tests.support.servers.tools import require, run

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3000)]

K8S = Path(__file__).parents[2] / "k8s"
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
FLINK_CRDS = "org.apache.flink:flink-kubernetes-operator-api:1.10.0"


@pytest.fixture(scope="module")
def prepared(kube: Cluster) -> Iterator[Cluster]:
    """A cluster with the namespace of k8s/overlays/cpu in it."""
    kube.kubectl("apply", "-k", str(K8S / "overlays" / "cpu"))
    yield kube
    kube.kubectl("delete", "namespace", "fullpass")


def server_dry_run(kube: Cluster, *words: str) -> None:
    """Fails where the API server refuses an object or warns of it (a pod that is not restricted, a deprecated field)."""
    command = [str(ensure_programs() / "kubectl"), "--kubeconfig", str(kube.kubeconfig)]
    done = subprocess.run([*command, "apply", "--dry-run=server", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert "(server dry run)" in done.stdout


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_are_accepted(prepared, overlay):
    server_dry_run(prepared, "-k", str(K8S / "overlays" / overlay))


@pytest.mark.parametrize("runner", ["flink", "spark", "serving/base", "serving/canary", "serving/queue"])
def test_clusters_and_servers_are_accepted_by_the_strictest_pod_security(prepared, runner):
    server_dry_run(prepared, "-k", str(K8S / runner))


def make_service(kube: Cluster, spec: dict) -> str:
    """Returns what kubectl says when it makes one."""
    metadata = {"name": "way-in", "namespace": "fullpass"}
    spec = {"selector": {"app": "x"}, "ports": [{"port": 80}], **spec}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    eventually(lambda: "services.nodeports" in limits_seen(kube), "the quota is in force")
    return kube.kubectl("create", "-f", "-", stdin=yaml.safe_dump(service), check=False)


@pytest.mark.parametrize(
    ("spec", "limited"),
    [
        ({"type": "LoadBalancer"}, "services.loadbalancers=0"),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, "services.loadbalancers=0"),
        ({"type": "NodePort"}, "services.nodeports=0"),
    ],
    ids=["load balancer", "load balancer without node ports", "node port"],
)
def test_no_way_in_from_outside_is_made_in_the_namespace(prepared, spec, limited):
    said = make_service(prepared, spec)
    assert "forbidden: exceeded quota: fullpass" in said and limited in said.rpartition("limited:")[2], said


def test_a_service_within_the_cluster_is_made_and_becomes_no_way_in(prepared):
    assert "service/way-in created" in make_service(prepared, {"type": "ClusterIP"})
    try:
        patch = ("patch", "service", "way-in", "-p", '{"spec": {"type": "NodePort"}}')
        said = prepared.kubectl("-n", "fullpass", *patch, check=False)
        assert "forbidden: exceeded quota: fullpass" in said and "services.nodeports=0" in said, said
    finally:
        prepared.kubectl("-n", "fullpass", "delete", "service", "way-in")


def limits_seen(kube: Cluster) -> str:
    """Returns what the quota's controller has taken note of; until then the API server refuses everything that it counts."""
    return kube.kubectl("-n", "fullpass", "get", "resourcequota", "fullpass", "-o", "jsonpath={.status.hard}")


def test_the_flink_resource_is_accepted_by_the_schema_of_its_operator(prepared, tmp_path):
    words = ("dependency:copy", f"-Dartifact={FLINK_CRDS}", f"-DoutputDirectory={tmp_path}")
    run([require("mvn"), "-q", "-B", *words], cwd=tmp_path)
    (jar,) = tmp_path.glob("flink-kubernetes-operator-api-*.jar")
    crd = tmp_path / "crd.yaml"
    with zipfile.ZipFile(jar) as archive:
        crd.write_bytes(archive.read("META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"))
    prepared.kubectl("apply", "--server-side", "-f", str(crd))
    prepared.wait_established("flinkdeployments.flink.apache.org")
    server_dry_run(prepared, "-f", str(K8S / "operators" / "flink.yaml"))


def test_the_variants_of_other_servers_are_accepted(prepared):
    """KServe's by the schema of its own resource; neither KServe's controller nor the image of TensorFlow Serving is here to run them."""
    try:
        install_crds(prepared, "kserve")
    except Unavailable as reason:
        pytest.skip(f"no schema of KServe's here: {reason}")
    for name in ("kserve", "tensorflow-serving"):
        server_dry_run(prepared, "-f", str(K8S / "serving" / "others" / f"{name}.yaml"))


def test_the_submitter_may_do_what_jobs_need_and_no_more(prepared, tmp_path):
    token = prepared.kubectl("-n", "fullpass", "create", "token", "submitter").strip()
    config = yaml.safe_load(prepared.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = tmp_path / "submitter"
    path.write_text(yaml.safe_dump(config))
    place = launcher("kubernetes", kubeconfig=str(path), namespace="fullpass")
    spec = busybox_job("allowed", "echo done", files={"a.txt": "x"}, service_account="trainer")
    place.submit(spec, dry_run=True)
    handle = place.submit(spec)
    assert [line.text for line in handle.logs(follow=True)] == ["done"]
    assert handle.wait(timeout_s=400).state is JobState.SUCCEEDED
    assert [job.name for job in place.list()] == ["allowed"]
    handle.cancel()
    with pytest.raises(LauncherError, match=r"may not create jobs\.batch in namespace default"):
        launcher("kubernetes", kubeconfig=str(path), namespace="default").submit(spec)
    for verb, what in (("get", "secrets"), ("create", "pods"), ("create", "pods/exec"), ("delete", "pods")):
        words = ("auth", "can-i", verb, what, "-n", "fullpass", "--as=system:serviceaccount:fullpass:submitter")
        assert prepared.kubectl(*words, check=False).strip() == "no", (verb, what)


def test_root_is_refused_by_the_namespace(prepared):
    """A pod that asks for root is refused by the namespace, and the job says so."""
    place = launcher("kubernetes", kubeconfig=str(prepared.kubeconfig), namespace="fullpass")
    handle = place.submit(busybox_job("rooted", "true", run_as_user=0))
    message = ""
    for _ in range(60):
        message = handle.status().message
        if message:
            break
    assert "pods cannot be created" in message and "runAsNonRoot" in message
    handle.cancel()
