"""What a job asks of Ray, and what of a `JobSpec` Ray cannot do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.launchers.base import LauncherError
from cluster.spec import JobSpec
from cluster.spec.quantity import parse_quantity
from engine.core.errors import ConfigError

__all__ = ["PLACEMENTS", "bundles", "check_feasible", "check_supported", "without_kubernetes"]

# https://docs.ray.io/en/latest/ray-core/scheduling/placement-group.html
PLACEMENTS = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_KUBERNETES_ONLY = (
    "volumes",
    "secrets",
    "image_pull_secrets",
    "node_selector",
    "tolerations",
    "affinity",
    "topology_spread",
    "scheduler_name",
    "runtime_class",
    "init_containers",
    "annotations",
    "pod_patch",
    "priority_class",
    "queue",
    "service_account",
    "run_as_user",
)


def check_supported(spec: JobSpec) -> None:
    """Refuses what Ray would have to ignore.

    Raises:
        ConfigError: settings that only Kubernetes has.
    """
    given = [key for key in _KUBERNETES_ONLY if getattr(spec, key) not in (None, (), {})]
    if given:
        raise ConfigError(
            f"{', '.join(given)}: not supported on Ray. Paths must be visible on every node (shared storage), variables go in "
            "env; or submit to Kubernetes"
        )


def without_kubernetes(spec: JobSpec) -> JobSpec:
    """Returns the job as it is submitted to a Ray whose pods have what only Kubernetes can give already."""
    return dataclasses.replace(
        spec,
        volumes=(),
        secrets=(),
        image_pull_secrets=(),
        node_selector={},
        tolerations=(),
        affinity={},
        topology_spread=(),
        scheduler_name=None,
        runtime_class=None,
        init_containers=(),
        annotations={},
        pod_patch={},
        priority_class=None,
        queue=None,
        service_account=None,
        run_as_user=None,
    )


def bundles(spec: JobSpec) -> list[dict[str, float]]:
    """Returns the resources of each member, in the order of `spec.members()`, as a placement group takes them."""
    return [_bundle(spec, role) for role, _ in spec.members()]


def _bundle(spec: JobSpec, role: str) -> dict[str, float]:
    wanted = spec.resources_of(role)
    bundle: dict[str, float] = {
        "CPU": float(parse_quantity(str(wanted.cpu), "cpu")),
        "memory": float(wanted.memory_bytes),
    }
    if wanted.gpu:
        bundle["GPU"] = float(wanted.gpu)
    if wanted.tpu:
        bundle["TPU"] = float(wanted.tpu)
    return bundle


def actor_options(bundle: dict[str, Any]) -> dict[str, Any]:
    """Returns the same resources as options of an actor."""
    other = {key: value for key, value in bundle.items() if key not in ("CPU", "GPU", "memory")}
    options: dict[str, Any] = {"num_cpus": bundle["CPU"], "memory": bundle["memory"], "resources": other}
    if bundle.get("GPU"):
        options["num_gpus"] = bundle["GPU"]
    return options


def check_feasible(spec: JobSpec, nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuses what no node could ever hold; a cluster that is merely busy is waited for.

    Args:
        spec: of the job.
        nodes: what each node that is alive has in all.

    Raises:
        LauncherError: a member asks for more than any node has.
    """
    for (role, _), bundle in zip(spec.members(), bundles(spec)):
        if not any(all(node.get(key, 0) >= amount for key, amount in bundle.items()) for node in nodes):
            most = {key: max((node.get(key, 0) for node in nodes), default=0) for key in bundle}
            raise LauncherError(
                f"no node of this Ray cluster can hold a {role}: wanted {bundle}, the most a node has is {most}"
            )
