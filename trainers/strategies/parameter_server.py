"""Asynchronous training: variables on parameter servers, a chief that hands out batches, workers that may come and go."""

from __future__ import annotations

import os

from engine.core.errors import ConfigError
from trainers.strategies.partition import set_table_partitioner, table_partitioner
from trainers.strategies.placement import Placement
from trainers.supervision.tf_config import Task

__all__ = ["create"]


def create(task: Task, min_shard_bytes: int | None = None) -> Placement:
    """Returns a placement on the chief; on a worker or parameter server it serves until the process is ended.

    Args:
        task: this process and the cluster: one chief, workers, ps.
        min_shard_bytes: tables (`ShardedEmbedding`, `ShardedTable`) are split over the parameter servers, in parts of at
            least so many bytes; None: over all of them. Other variables stay whole.

    Raises:
        ConfigError: the cluster has no chief, worker or ps, or `min_shard_bytes` is no number of bytes.
    """
    import tensorflow as tf

    for kind in ("chief", "worker", "ps"):
        if not task.cluster.get(kind):
            raise ConfigError(f"strategy='parameter_server': TF_CONFIG has no {kind} task, it needs one of each kind")
    partitioner = table_partitioner(len(task.cluster["ps"]), min_shard_bytes)
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
    set_table_partitioner(strategy, partitioner)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    return Placement(name="parameter_server", strategy=strategy, coordinator=coordinator)
