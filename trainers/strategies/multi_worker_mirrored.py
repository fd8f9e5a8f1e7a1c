"""Several processes, each with a copy of the variables; gradients are summed by collective operations every step."""

from __future__ import annotations

import os

from engine.core.errors import ConfigError
from trainers.strategies.placement import Placement
from trainers.supervision.tf_config import Task

__all__ = ["create"]


def create(task: Task, communication: str = "auto", timeout_s: float | None = None) -> Placement:
    """Returns a placement over all workers of the cluster; waits until they are all there.

    Args:
        task: this process and the cluster it belongs to.
        communication: "auto", "ring" (gRPC, any device) or "nccl" (GPUs).
        timeout_s: seconds after which a collective that does not come to its end is an error. None: for ever; the
            supervisor notices dead and silent peers by itself.

    Raises:
        ConfigError: the cluster has ps tasks, or this process is not one of its workers.
    """
    import tensorflow as tf

    if task.cluster.get("ps"):
        count = len(task.cluster["ps"])
        raise ConfigError(f"strategy='multi_worker_mirrored': TF_CONFIG has {count} ps tasks, use parameter_server")
    if task.type not in ("chief", "worker"):
        raise ConfigError(f"strategy='multi_worker_mirrored': this task is {task.type!r}, it must be chief or worker")
    kinds = tf.distribute.experimental.CommunicationImplementation
    if communication not in ("auto", "ring", "nccl"):
        raise ConfigError(f"communication={communication!r}: allowed are auto, ring, nccl")
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=getattr(kinds, communication.upper()), timeout_seconds=timeout_s
    )
    os.environ.setdefault("GRPC_FAIL_FAST", "use_caller")
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver() if task.num_training_tasks > 1 else None
    strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    return Placement(
        name="multi_worker_mirrored",
        strategy=strategy,
        host=task.rank,
        num_hosts=task.num_training_tasks,
        replicas_per_host=strategy.num_replicas_in_sync // task.num_training_tasks,
    )
