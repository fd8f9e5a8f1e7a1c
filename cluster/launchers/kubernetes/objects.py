"""Names, labels and metadata of a job's objects, and its ConfigMap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.spec import JobSpec

__all__ = ["Object", "config_map", "config_name", "labels", "metadata", "needs_secret", "secret_name"]

Object = dict[str, Any]


def needs_secret(spec: JobSpec) -> bool:
    """Returns whether a job's members meet at a rendezvous, and so need a secret that they share."""
    return spec.supervised and spec.num_pods > 1


def secret_name(spec: JobSpec) -> str:
    """Returns the name of the Secret that the job's supervisors share."""
    return f"{spec.name}-group"


def labels(spec: JobSpec, role: str | None = None) -> dict[str, str]:
    """Returns the labels of a job's objects, or of the pods of a role."""
    own = {"app.kubernetes.io/managed-by": "fullpass", "fullpass/job": spec.name}
    client = {"fullpass/beam-client": spec.beam_runner} if role and spec.beam_runner else {}
    return {**spec.labels, **own, **client, **({"fullpass/role": role} if role else {})}


def metadata(spec: JobSpec, name: str | None = None) -> Object:
    """Returns the metadata of an object, with Kueue's label where the job goes through a queue."""
    queue = {"kueue.x-k8s.io/queue-name": spec.queue} if spec.queue else {}
    return {"name": name or spec.name, "labels": {**labels(spec), **queue}}


def config_name(spec: JobSpec) -> str:
    """Returns the name of the ConfigMap that holds the job's files."""
    return f"{spec.name}-files"


def config_map(spec: JobSpec, more: Mapping[str, str] | None = None) -> list[Object]:
    """Returns the ConfigMap of the job's files, or nothing where it has none."""
    data = {**spec.files, **(more or {})}
    if not data:
        return []
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(spec, config_name(spec)), "data": data}]
