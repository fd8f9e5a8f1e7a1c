"""What keeps a job apart from its neighbours: a NetworkPolicy of its own, and a secret that its supervisors share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.launchers.kubernetes.objects import labels, metadata, needs_secret, secret_name
from cluster.launchers.kubernetes.pod import SECRET_KEY
from cluster.spec import JobSpec

__all__ = ["UNSET_SECRET", "group_secret", "network_policy"]

Object = dict[str, Any]

# What is rendered without being created. Too short for a secret: a group that got it is refused by its own supervisors.
UNSET_SECRET = "openssl rand -hex 16"


def group_secret(spec: JobSpec, secret: str) -> list[Object]:
    """Returns the Secret that the supervisors of a group share, or nothing where there is no group."""
    if not needs_secret(spec):
        return []
    name = metadata(spec, secret_name(spec))
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": name, "type": "Opaque", "stringData": {SECRET_KEY: secret}}
    ]


def network_policy(spec: JobSpec, more: list[Object] | None = None) -> Object:
    """Returns the policy that lets in members of this very job and nobody else.

    Only what comes in is ruled here: what may go out is the namespace's to say (k8s/base/network.yaml), and a policy that
    named it would cut jobs off from their storage wherever nobody has said it.

    Args:
        spec: the job.
        more: further rules of ingress, of the kind or of a Beam runner.
    """
    own: Mapping[str, str] = {"fullpass/job": labels(spec)["fullpass/job"]}
    ingress: list[Object] = [{"from": [{"podSelector": {"matchLabels": dict(own)}}]}, *(more or [])]
    if spec.beam_runner:
        # Workers of Flink and executors of Spark report to the job that submitted to them.
        runner = {"podSelector": {"matchLabels": {"fullpass/runner": spec.beam_runner}}}
        ingress.append({"from": [runner]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(spec),
        "spec": {"podSelector": {"matchLabels": dict(own)}, "policyTypes": ["Ingress"], "ingress": ingress},
    }
