"""Asynchronous training: variables on parameter servers, a chief that hands out batches, workers that may come and go."""

from __future__ import annotations

import os

from engine.core.errors import ConfigError
from trainers.strategies.placement import Placement
from trainers.supervision.tf_config import Task

__all__ = ["create"]


def create(task: Task, min_shard_bytes: int | None = None) -> Placement:
    """Returns a placement on the chief; on a worker or parameter server it serves until the process is ended.

    Args:
        task: this process and the cluster: one chief, workers, ps.
        min_shard_bytes: variables are split over the parameter servers in parts of at least so many bytes; None: whole.
            Split variables cannot be written to a checkpoint yet, so this is refused.

    Raises:
        ConfigError: the cluster has no chief, worker or ps.
    """
    import tensorflow as tf

    for kind in ("chief", "worker", "ps"):
        if not task.cluster.get(kind):
            raise ConfigError(f"strategy='parameter_server': TF_CONFIG has no {kind} task, it needs one of each kind")
    if min_shard_bytes is not None:
        raise ConfigError(f"min_shard_bytes={min_shard_bytes}: split variables are not supported, leave it out")
    # A worker that is gone must be an error at once, not after gRPC's patience.
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if task.type != "chief":
        server = tf.distribute.Server(
            resolver.cluster_spec(), job_name=task.type, task_index=task.index, protocol="grpc", start=True
        )
        server.join()
        raise AssertionError("a server of TensorFlow does not return")
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    return Placement(name="parameter_server", strategy=strategy, coordinator=coordinator)
