"""kube-router's firewall on the cluster's bridge: NetworkPolicies are enforced for as long as it runs, by the kernel's rules."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator

from tests.support.eventually import eventually
from tests.support.servers.kubernetes.binaries import ensure_program
from tests.support.servers.kubernetes.cluster import Cluster

__all__ = ["enforced_policies"]

_HEALTH = 20244
_ITS_CHAINS = re.compile(r"KUBE-(ROUTER|POD-FW|NWPLCY)-")


@contextlib.contextmanager
def enforced_policies(cluster: Cluster) -> Iterator[None]:
    """Has every NetworkPolicy of the cluster hold, and removes the rules afterwards: other tests share the cluster.

    Raises:
        Unavailable: the program cannot be built.
    """
    program = str(ensure_program("kube-router"))
    words = [
        # nsenter waits for a child: that has to end with it, or it would write its rules again after they are removed.
        "setpriv", "--pdeathsig", "KILL", program, "--run-firewall=true", "--run-router=false", "--run-service-proxy=false",
        "--hostname-override=node0",
        f"--kubeconfig={cluster.state}/kubeconfig", "--service-cluster-ip-range=10.96.0.0/16", f"--health-port={_HEALTH}",
        "--metrics-port=0",
    ]  # fmt: skip
    log = cluster.state / "kube-router.log"
    with open(log, "ab") as output:
        process = cluster.inside(*words, env=_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def synced() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        ask = ["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{_HEALTH}/healthz"]
        return cluster.inside(*ask, stdout=subprocess.DEVNULL).wait() == 0 and "KUBE-POD-FW-" in _rules(cluster)

    try:
        eventually(synced, "kube-router has written its rules", timeout_s=120, poll_s=0.5)
        yield
    finally:
        process.kill()
        process.wait()
        gone = ("pgrep", "-x", "kube-router")
        eventually(lambda: cluster.inside(*gone, stdout=subprocess.DEVNULL).wait() == 1, "kube-router has ended")
        _remove_rules(cluster)


def _remove_rules(cluster: Cluster) -> None:
    """Takes kube-router's chains, and what jumps to them, out of the table."""
    kept = "".join(line for line in _rules(cluster).splitlines(keepends=True) if not _ITS_CHAINS.search(line))
    restore = cluster.inside("iptables-restore", "-T", "filter", stdin=subprocess.PIPE, text=True)
    restore.communicate(kept)
    assert restore.returncode == 0, kept
    assert cluster.inside("ipset", "destroy").wait() == 0, "a rule still has its set"


def _rules(cluster: Cluster) -> str:
    listed = cluster.inside(
        "iptables-save", "-t", "filter", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return str(listed.communicate()[0])


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
