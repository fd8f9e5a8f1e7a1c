"""A real Ray cluster on loopback: a head node and one further node, each with a raylet of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

__all__ = ["two_raylets"]

_PATIENCE_S = 180


@contextlib.contextmanager
def two_raylets(cpus_each: int) -> Iterator[Any]:
    """Yields a `ray.cluster_utils.Cluster` of two nodes; this process is connected to it.

    Args:
        cpus_each: logical CPUs of each node (Ray counts them, it does not pin).
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray gives its control server 30 s to come up, and its nodes as many: too few where other clusters use the same two cores.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", str(_PATIENCE_S))
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": cpus_each, "memory": 8 << 30, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster()
    try:
        for _ in range(2):  # the first is the head
            cluster.add_node(wait=False, **node)
        cluster.wait_for_nodes(timeout=_PATIENCE_S)
        ray.init(address=cluster.address, namespace="fullpass", log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
