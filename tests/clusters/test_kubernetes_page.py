"""docs/kubernetes.md as a newcomer reads it: its commands in its order, with the account of least rights that it makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.clusters.kubernetes_fixtures import bound_volume
from tests.support.servers.kubernetes.binaries import ensure_programs
from tests.support.servers.kubernetes.cluster import Cluster
from tests.support.servers.kubernetes.images import FULLPASS

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3000)]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text().partition("## What happens when something breaks")[0]
NOT_HERE = ("pip install", "docker build")  # the environment is there, and no registry to push to
SMALLER = {"--cpu 4": "--cpu 500m", 'cpu: "4"': "cpu: 500m", 'cpu="4"': 'cpu="500m"', "8Gi": "2Gi"}


def blocks() -> Iterator[tuple[str, str]]:
    """Yields (language, text) of the page's blocks: the image is the test cluster's, the machine is small."""
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S):
        for old, new in {"REGISTRY/fullpass:1": FULLPASS, **SMALLER}.items():
            text = text.replace(old, new)
        if not text.startswith(NOT_HERE):
            yield language, text


@pytest.fixture
def volume(kube: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A folder of this machine that the page's claim gets as its volume; the page makes the namespace."""
    with bound_volume(kube, tmp_path / "volume") as folder:
        yield folder


def test_a_newcomer_gets_from_a_kubeconfig_to_a_trained_model(kube, volume, tmp_path):
    (tmp_path / "kubeconfig").write_text(kube.kubeconfig.read_text())
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "fullpass"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cluster.cli.main "$@"\n')
    command.chmod(0o755)
    (tmp_path / "k8s").symlink_to(ROOT / "k8s")
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{Path(sys.executable).parent}:{ensure_programs()}:{os.environ['PATH']}",
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "PYTHONPATH": str(ROOT),
        "FULLPASS_STATE_DIR": str(tmp_path / "state"),
    }
    said = []
    for language, text in blocks():
        if "def build_model" in text:
            (tmp_path / "late.py").write_text(text)
            continue
        words = ["bash", "-eux", "-"] if language == "sh" else [sys.executable, "-"]
        done = subprocess.run(
            words, input=text, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        said.append(done.stdout + done.stderr)
    everything = "\n".join(said)
    assert "[worker-0] 20,000 records" in everything
    assert "kind: Service" in everything  # the dry run
    assert "late succeeded" in everything and "program succeeded" in everything
    assert everything.count("trained 60 steps") == 4  # two workers each, by --module and from Python
    for name in ("late", "program", "python"):
        assert (volume / name / "checkpoints" / f"step-{60:012d}").is_dir(), name
    assert (volume / "models" / "1" / "saved_model.pb").exists()
    # All of it was done by the account that may do nothing else, and none of it is left.
    config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    (used,) = (c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    assert used["user"] == "submitter"
    assert (
        kube.kubectl("-n", "fullpass", "get", "jobs,pods,services,configmaps", "-l", "fullpass/job", "-o", "name") == ""
    )
