"""Fixtures of the Kubernetes tests: one cluster for the session, jobs of shell scripts and of Fullpass."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster import JobSpec, Launcher, Resources, Volume, launcher
from tests.support.servers.kubernetes.binaries import Unavailable, remove_build_caches
from tests.support.servers.kubernetes.cluster import Cluster
from tests.support.servers.kubernetes.images import BUSYBOX, FULLPASS
from tests.support.servers.kubernetes.operators import start_operator

__all__ = [
    "bound_volume",
    "busybox_job",
    "fullpass_job",
    "fullpass_namespace",
    "kube",
    "kubernetes_jobs",
    "need_operator",
]


@pytest.fixture(scope="session")
def kube() -> Iterator[Cluster]:
    """A cluster of one node; built from nothing where its programs are not there yet."""
    try:
        cluster = Cluster().__enter__()
    except Unavailable as reason:
        pytest.skip(f"no Kubernetes cluster here: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        yield cluster
    cluster.stop()
    remove_build_caches()


@contextlib.contextmanager
def bound_volume(kube: Cluster, folder: Path) -> Iterator[Path]:
    """Yields a folder of this machine that is the volume of the claim of k8s/base; removes the namespace after."""
    folder.mkdir()
    folder.chmod(0o777)
    spec = {
        "capacity": {"storage": "100Gi"},
        "accessModes": ["ReadWriteMany"],
        "hostPath": {"path": str(folder)},
        "claimRef": {"namespace": "fullpass", "name": "training"},
    }
    obj = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "training"}, "spec": spec}
    kube.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(obj))
    try:
        yield folder
    finally:
        kube.kubectl("delete", "namespace", "fullpass", "--ignore-not-found")
        kube.kubectl("delete", "persistentvolume", "training")


@pytest.fixture
def fullpass_namespace(kube: Cluster, tmp_path: Path) -> Iterator[Path]:
    """The namespace of k8s/overlays/cpu; yields the folder that is its volume."""
    with bound_volume(kube, tmp_path / "volume") as folder:
        kube.kubectl("apply", "-k", str(Path(__file__).parents[2] / "k8s" / "overlays" / "cpu"))
        yield folder


@pytest.fixture
def kubernetes_jobs(kube: Cluster) -> Iterator[Launcher]:
    """The launcher of Indexed Jobs on that cluster; what a failed test leaves is removed."""
    place = launcher("kubernetes", kubeconfig=str(kube.kubeconfig))
    yield place
    for status in place.list():
        place.cancel(status.name)


def need_operator(kube: Cluster, name: str) -> None:
    """Has an operator run, or skips the test where its program is not to be had."""
    try:
        start_operator(kube, name)
    except Unavailable as reason:
        pytest.skip(f"no {name} here: {reason}")


def busybox_job(name: str, script: str, **changes) -> JobSpec:
    """Returns a job of shell scripts, as a user that is not root, with little of everything."""
    base = {
        "name": name,
        "command": ("sh", "-c", script),
        "image": BUSYBOX,
        "image_pull_policy": "Never",
        # Starting a container takes much of a tenth of a second, its runtime's part: with less it takes seconds.
        "resources": Resources(cpu="200m", memory="32Mi", ephemeral_storage="512Mi"),
        "run_as_user": 1000,
        "grace_s": 2,
        "max_restarts": 0,
    }
    return JobSpec(**{**base, **changes})


def fullpass_job(name: str, *writable: Path, **changes) -> JobSpec:
    """Returns a job in the image of Fullpass whose pods write to these directories of this machine only, as its owner."""
    base = {
        "name": name,
        "image": FULLPASS,
        "resources": Resources(cpu="900m", memory="3Gi", ephemeral_storage="512Mi"),
        "run_as_user": os.getuid(),
        "volumes": [Volume(mount_path=str(path), host_path=str(path)) for path in writable],
        "grace_s": 30,
    }
    return JobSpec(**{**base, **changes})
