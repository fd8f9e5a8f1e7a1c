"""The cores of a TPU slice. Written to TensorFlow's interface; it was never run on a TPU here (see docs/training.md)."""

from __future__ import annotations

from engine.core.errors import ConfigError
from trainers.strategies.placement import Placement
from trainers.supervision.tf_config import Task

__all__ = ["create"]


def create(task: Task, address: str = "", zone: str | None = None, project: str | None = None) -> Placement:
    """Returns a placement on all cores of a TPU.

    Args:
        task: unused, one process drives the slice.
        address: name or address of the TPU; "" on a TPU VM itself is "local".
        zone: Google Cloud zone, where `address` is a name.
        project: Google Cloud project, where `address` is a name.

    Raises:
        ConfigError: no TPU can be reached.
    """
    import tensorflow as tf

    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address or "local", zone=zone, project=project)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"strategy='tpu', address={address!r}: no TPU can be used here ({first}); TensorFlow has no emulation of "
            "one on a CPU: for a trial run use mirrored with logical_devices, and xla=True"
        ) from error
    strategy = tf.distribute.TPUStrategy(resolver)
    return Placement(name="tpu", strategy=strategy, replicas_per_host=strategy.num_replicas_in_sync, jit_required=True)
