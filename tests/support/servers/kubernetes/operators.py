"""Operators of job kinds, as processes beside the control plane, with their CRDs and admission webhooks."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.support.servers.kubernetes.binaries import Unavailable, ensure_manifests, ensure_program

if TYPE_CHECKING:
    from tests.support.servers.kubernetes.cluster import Cluster

__all__ = ["HOSTS", "install_crds", "start_operator"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How an operator runs here.

    Attributes:
        namespace: that it takes itself to be in.
        health: port of its readiness.
        flags: of its program.
        config: text of /tmp/config.json as it sees it.
        service: name in its webhooks' certificate; empty where it has no webhooks.
        secret: where it keeps that certificate.
        port: of its webhooks.
        webhook_names: kind of webhook configuration → name that it looks for.
    """

    namespace: str
    health: int
    flags: tuple[str, ...]
    config: str = ""
    service: str = ""
    secret: str = ""
    port: int = 0
    webhook_names: dict[str, str] = field(default_factory=dict)


_VALIDATING, _MUTATING = "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"
_SETUPS = {
    "training-operator": Setup(
        namespace="kubeflow",
        service="training-operator",
        secret="training-operator-webhook-cert",
        port=19443,
        health=18081,
        flags=(
            "--metrics-bind-address=127.0.0.1:18080",
            "--health-probe-bind-address=127.0.0.1:18081",
            "--webhook-server-port=19443",
            "--enable-scheme=tfjob",
        ),
        webhook_names={_VALIDATING: "validator.training-operator.kubeflow.org"},
    ),
    "jobset": Setup(
        namespace="jobset-system",
        service="jobset-webhook-service",
        secret="jobset-webhook-server-cert",
        port=19444,
        health=18083,
        flags=("--config=/tmp/config.json",),
        config=json.dumps(
            {
                "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
                "kind": "Configuration",
                "health": {"healthProbeBindAddress": "127.0.0.1:18083"},
                "metrics": {"bindAddress": "127.0.0.1:18082"},
                "webhook": {"port": 19444},
                "leaderElection": {"leaderElect": False},
                "internalCertManagement": {"enable": True},
            }
        ),
        webhook_names={
            _VALIDATING: "jobset-validating-webhook-configuration",
            _MUTATING: "jobset-mutating-webhook-configuration",
        },
    ),
    "trainer": Setup(
        namespace="kubeflow-system",
        service="kubeflow-trainer-controller-manager",
        secret="kubeflow-trainer-webhook-cert",
        port=19445,
        health=18085,
        flags=("--health-probe-bind-address=127.0.0.1:18085", "--webhook-server-port=19445"),
        webhook_names={_VALIDATING: "validator.trainer.kubeflow.org"},
    ),
    "kuberay": Setup(
        namespace="ray-system",
        health=18087,
        flags=(
            "--metrics-addr=127.0.0.1:18086",
            "--health-probe-bind-address=127.0.0.1:18087",
            "--enable-leader-election=false",
        ),
    ),
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # megabytes of schemas take a loader in Python many seconds
HOSTS = tuple(f"{setup.service}.{setup.namespace}.svc" for setup in _SETUPS.values() if setup.service)


def install_crds(cluster: Cluster, name: str) -> None:
    """Makes the API server know the objects of an operator."""
    crds, _ = ensure_manifests(name)
    for file in crds:
        cluster.kubectl("apply", "--server-side", "-f", str(file))
    for file in crds:
        crd = yaml.load(file.read_text(), _LOADER)["metadata"]["name"]
        cluster.wait_established(crd)


def start_operator(cluster: Cluster, name: str) -> None:
    """Installs an operator that does not run yet and returns when it is ready; it ends with the cluster."""
    if name in cluster.operators:
        return
    setup, program = _SETUPS[name], ensure_program(name)
    install_crds(cluster, name)
    cluster.kubectl("create", "namespace", setup.namespace)
    if setup.service:
        cluster.kubectl("-n", setup.namespace, "create", "secret", "generic", setup.secret)
        cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(_webhooks(name, setup)))
    # All of them read certificates from the same path below /tmp: each gets a /tmp of its own.
    folder = cluster.state / "operators" / name
    certificates = folder / "k8s-webhook-server" / "serving-certs"
    certificates.mkdir(parents=True)
    (folder / "config.json").write_text(setup.config)
    shutil.copyfile(cluster.state / "kubeconfig", folder / "kubeconfig")
    # KubeRay's asks Ray's dashboard in the pods by the name of its service: names are those that pods have.
    mounts = f"mount --bind {folder}/resolv.conf /etc/resolv.conf && mount --bind {folder} /tmp"
    shutil.copyfile(cluster.state / "resolv.conf", folder / "resolv.conf")
    with open(cluster.state / f"{name}.log", "wb") as log:
        process = cluster.inside(
            *(
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                f'{mounts} && exec "$@"',
                "sh",
            ),
            *(str(program), *setup.flags),
            env={**os.environ, "KUBECONFIG": "/tmp/kubeconfig"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    _wait_for(cluster, name, setup, process, certificates)
    cluster.operators.add(name)


def _wait_for(cluster: Cluster, name: str, setup: Setup, process: subprocess.Popen, certificates: Path) -> None:
    deadline = time.monotonic() + 90
    copied = not setup.service
    while time.monotonic() < deadline and process.poll() is None:
        if not copied:
            secret = json.loads(cluster.kubectl("-n", setup.namespace, "get", "secret", setup.secret, "-o", "json"))
            data = secret.get("data") or {}
            if "tls.crt" in data:
                for key in ("ca.crt", "tls.crt", "tls.key"):  # what mounting the secret would do
                    (certificates / key).write_bytes(base64.b64decode(data[key]))
                copied = True
        ready = ["curl", "-sf", f"http://127.0.0.1:{setup.health}/readyz"]
        if copied and cluster.inside(*ready, stdout=subprocess.DEVNULL).wait() == 0:
            return
        time.sleep(0.3)
    raise Unavailable(f"{name} did not become ready: {(cluster.state / f'{name}.log').read_text()[-2000:]}")


def _webhooks(name: str, setup: Setup) -> list[dict]:
    """Returns the operator's webhook configurations, pointed at the process in place of a service."""
    _, file = ensure_manifests(name)
    assert file is not None
    out = []
    for document in yaml.safe_load_all(file.read_text()):
        if not document or document["kind"] not in setup.webhook_names:
            continue
        document["metadata"]["name"] = setup.webhook_names[document["kind"]]
        for webhook in document["webhooks"]:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": f"https://{setup.service}.{setup.namespace}.svc:{setup.port}{path}"}
            if any("pods" in rule["resources"] for rule in webhook["rules"]):  # as its own installation has it
                exists = {"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}
                webhook["objectSelector"] = {"matchExpressions": [exists]}
        out.append(document)
    return out
