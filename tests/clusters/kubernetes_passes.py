"""Passes on the Flink and Spark of k8s/ in pods, submitted as docs/kubernetes.md does it."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.clusters import beam_passes
from tests.support.servers.kubernetes.cluster import Cluster
from tests.support.servers.kubernetes.images import FULLPASS

__all__ = ["Changes", "check_pass", "deployed", "smaller_requests"]

ROOT = Path(__file__).parents[2]
ROWS = 20_000
MODULE = "from tests.clusters.beam_passes import preprocessing_fn\n"
Changes = Mapping[str, Sequence[tuple[str, Any]]]


def smaller_requests(containers: int) -> list[tuple[str, Any]]:
    """Returns the changes that let a small machine grant what the containers of a Deployment ask for, and end them soon."""
    pod, requests = "/spec/template/spec", {"cpu": "400m", "memory": "500Mi", "ephemeral-storage": "100Mi"}
    smaller = [(f"{pod}/containers/{number}/resources/requests", requests) for number in range(containers)]
    return [*smaller, (f"{pod}/terminationGracePeriodSeconds", 2)]


@contextlib.contextmanager
def deployed(kube: Cluster, name: str, changes: Changes, folder: Path) -> Iterator[None]:
    """Runs k8s/NAME, its images replaced by that of the test cluster.

    Args:
        kube: with the namespace of k8s/overlays/cpu.
        name: folder below k8s/, and the name of the image in it that is not Fullpass's.
        changes: Deployment → (JSON pointer, value) of each field that a small machine needs otherwise.
        folder: for the kustomization.
    """
    image, _, tag = FULLPASS.partition(":")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / "k8s" / name, folder)],
        "images": [{"name": each, "newName": image, "newTag": tag} for each in ("fullpass", name)],
        "patches": [
            {
                "target": {"kind": "Deployment", "name": deployment},
                "patch": yaml.safe_dump([{"op": "add", "path": path, "value": value} for path, value in fields]),
            }
            for deployment, fields in changes.items()
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    kube.kubectl("apply", "-k", str(folder))
    try:
        for deployment in changes:
            waited = ("-n", "fullpass", "rollout", "status", f"deployment/{deployment}", "--timeout=400s")
            said = kube.kubectl(*waited, check=False)
            assert "successfully rolled out" in said, said + _logs(kube, changes)
        try:
            yield
        except AssertionError:
            print(_logs(kube, changes))
            raise
    finally:
        kube.kubectl("delete", "-k", str(folder))


def check_pass(kube: Cluster, runner: str, options: Sequence[str], volume: Path, folder: Path) -> None:
    """Fails where a pass that is submitted to the cluster of k8s/RUNNER finds anything else than the local one does.

    Args:
        kube: where it runs.
        runner: of the pass.
        options: of the runner.
        volume: folder that pods see as /data.
        folder: for the user's module.
    """
    beam_passes.write_rows(volume / "rows", ROWS)
    module = folder / "features.py"
    module.write_text(MODULE)
    where = f"--launcher kubernetes --kubeconfig {kube.kubeconfig} --namespace fullpass --image {FULLPASS} --name stats"
    what = (
        f"--step analyze --file {module} --volume claim=training:/data --env PYTHONPATH={ROOT} --memory 3Gi --cpu 500m"
    )
    words = f"/data/rows --module /fullpass/files/features.py --out /data/graph --runner {runner}".split()
    words += [f"--runner-option={option}" for option in options]
    _fullpass("submit", *where.split(), *what.split(), "--follow", "--", *words)
    assert beam_passes.results_of(volume / "graph") == _results_here()
    _fullpass("cancel", "stats")


@functools.cache
def _results_here() -> dict[str, Any]:
    """Returns what this machine's pass finds in the rows of `check_pass`, which are the same each time."""
    with tempfile.TemporaryDirectory(prefix="pass-here-") as name:
        folder = Path(name)
        beam_passes.write_rows(folder / "rows", ROWS)
        (folder / "features.py").write_text(MODULE)
        _fullpass("analyze", folder / "rows", "--module", folder / "features.py", "--out", folder / "graph")
        return beam_passes.results_of(folder / "graph")


def _logs(kube: Cluster, deployments: Changes) -> str:
    """Returns the last lines of their pods."""
    words = ("-n", "fullpass", "logs", "--all-containers", "--tail=60")
    return "".join(kube.kubectl(*words, f"deployment/{name}", check=False) for name in deployments)


def _fullpass(*words: object) -> None:
    """Runs `fullpass WORDS`, which must succeed."""
    command = [sys.executable, "-m", "cluster.cli.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
