"""A full pass on the Flink of k8s/flink in pods, submitted as docs/kubernetes.md does it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.clusters import beam_passes
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.flink_home import JOB_SERVER_JAR, make_flink_home
from tests.servers.kubernetes.images import FULLPASS

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.flink, pytest.mark.timeout(3000)]

ROOT = Path(__file__).parents[2]
# The machine is small: one TaskManager, and requests that it can grant. All else is as k8s/flink has it.
SMALLER = [
    ("flink-jobmanager", [("/spec/template/spec/containers/0/resources/requests", {"cpu": "400m", "memory": "500Mi"})]),
    (
        "flink-taskmanager",
        [
            ("/spec/replicas", 1),
            ("/spec/template/spec/containers/0/resources/requests", {"cpu": "400m", "memory": "500Mi"}),
            ("/spec/template/spec/containers/1/resources/requests", {"cpu": "400m", "memory": "500Mi"}),
        ],
    ),
]


@pytest.fixture
def flink(kube: Cluster, fullpass_namespace: Path, tmp_path: Path) -> Iterator[None]:
    """k8s/flink in the namespace `fullpass`, its images replaced by those of the test cluster."""
    try:
        make_flink_home(kube.flink_home)
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no Flink here: {error}")
    name, _, tag = FULLPASS.partition(":")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / "k8s" / "flink", tmp_path)],
        "images": [{"name": image, "newName": name, "newTag": tag} for image in ("fullpass", "flink")],
        "patches": [
            {
                "target": {"kind": "Deployment", "name": deployment},
                "patch": yaml.safe_dump([{"op": "replace", "path": path, "value": value} for path, value in changes]),
            }
            for deployment, changes in SMALLER
        ],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    kube.kubectl("apply", "-k", str(tmp_path))
    for deployment, _ in SMALLER:
        waited = ("-n", "fullpass", "rollout", "status", f"deployment/{deployment}", "--timeout=400s")
        said = kube.kubectl(*waited, check=False)
        assert "successfully rolled out" in said, said + logs(kube)
    yield
    kube.kubectl("delete", "-k", str(tmp_path))


def logs(kube: Cluster) -> str:
    """Returns the last lines of Flink's pods."""
    words = ("-n", "fullpass", "logs", "--all-containers", "--tail=60")
    return "".join(kube.kubectl(*words, f"deployment/{name}", check=False) for name, _ in SMALLER)


def fullpass(*words: object) -> str:
    """Returns what `fullpass WORDS` printed; it must succeed."""
    command = [sys.executable, "-m", "cluster.cli.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def test_a_submitted_pass_on_flink_in_pods_equals_the_local_pass(kube, fullpass_namespace, flink, tmp_path):
    volume = fullpass_namespace
    beam_passes.write_rows(volume / "rows", 20_000)
    module = tmp_path / "features.py"
    module.write_text("from tests.clusters.beam_passes import preprocessing_fn\n")
    fullpass("analyze", volume / "rows", "--module", module, "--out", tmp_path / "local")
    where = (
        "--launcher",
        "kubernetes",
        "--kubeconfig",
        kube.kubeconfig,
        "--namespace",
        "fullpass",
        "--image",
        FULLPASS,
    )
    words = ("--step", "analyze", "--file", module, "--volume", "claim=training:/data", "--env", f"PYTHONPATH={ROOT}")
    options = (
        "--flink_master=flink-jobmanager:8081",
        "--environment_type=EXTERNAL",
        "--environment_config=localhost:50000",
        "--work_dir=/data",
        "--parallelism=2",
        f"--flink_job_server_jar=/opt/flink/{JOB_SERVER_JAR}",
    )
    try:
        fullpass(
            *("submit", *where, "--name", "stats", *words, "--memory", "3Gi", "--cpu", "500m", "--follow", "--"),
            *("/data/rows", "--module", "/fullpass/files/features.py", "--out", "/data/graph", "--runner", "flink"),
            *(f"--runner-option={option}" for option in options),
        )
    except AssertionError:
        print(logs(kube))
        raise
    assert beam_passes.results_of(volume / "graph") == beam_passes.results_of(tmp_path / "local")
    fullpass("cancel", "stats")
