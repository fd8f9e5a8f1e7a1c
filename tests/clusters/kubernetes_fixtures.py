"""Fixtures of the Kubernetes tests: one cluster for the session, jobs whose pods run this machine's Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import JobSpec, Launcher, Resources, Volume, launcher
from tests.servers.kubernetes.binaries import Unavailable, remove_build_caches
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.images import BUSYBOX, HOSTROOT

__all__ = ["busybox_job", "host_job", "kube", "kubernetes_jobs"]


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


@pytest.fixture
def kubernetes_jobs(kube: Cluster) -> Iterator[Launcher]:
    """The launcher of Indexed Jobs on that cluster; what a failed test leaves is removed."""
    place = launcher("kubernetes", kubeconfig=str(kube.kubeconfig))
    yield place
    for status in place.list():
        place.cancel(status.name)


def busybox_job(name: str, script: str, **changes) -> JobSpec:
    """Returns a job of shell scripts, as a user that is not root, with little of everything."""
    base = {
        "name": name,
        "command": ("sh", "-c", script),
        "image": BUSYBOX,
        "image_pull_policy": "Never",
        "resources": Resources(cpu="50m", memory="32Mi"),
        "run_as_user": 1000,
        "grace_s": 2,
        "max_restarts": 0,
    }
    return JobSpec(**{**base, **changes})


def host_job(name: str, *writable: Path, **changes) -> JobSpec:
    """Returns a job whose pods see this machine's Python, environment and project, and write to `writable` only."""
    root = Path(__file__).resolve().parents[2]
    environment, python = Path(sys.prefix), Path(sys.base_prefix)
    readable = {Path("/usr"), Path("/etc/ssl"), root, environment, python}
    # /usr holds many a Python already; nested mounts would hide nothing, but say nothing either.
    paths = sorted(p for p in readable if p.exists() and not any(p != o and p.is_relative_to(o) for o in readable))
    volumes = [Volume(mount_path=str(path), host_path=str(path), read_only=True) for path in paths]
    volumes += [Volume(mount_path=str(path), host_path=str(path)) for path in writable]
    base = {
        "name": name,
        "image": HOSTROOT,
        "image_pull_policy": "Never",
        "resources": Resources(cpu="900m", memory="3Gi"),
        "run_as_user": 0,
        "working_dir": str(root),
        "env": {
            "PATH": f"{environment}/bin:{os.defpath}",
            "HOME": "/tmp",
            "PYTHONPATH": str(root),
            "PYTHONUNBUFFERED": "1",
        },
        "volumes": volumes,
        "grace_s": 30,
    }
    return JobSpec(**{**base, **changes})
