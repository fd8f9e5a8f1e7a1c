"""Several devices of one machine, each with a copy of the variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.core.errors import ConfigError
from trainers.strategies.placement import Placement
from trainers.supervision.tf_config import Task

__all__ = ["create"]


def create(task: Task, devices: Sequence[str] | None = None, logical_devices: int | None = None) -> Placement:
    """Returns a placement on several devices of this machine.

    Args:
        task: unused, one process.
        devices: e.g. ["/gpu:0", "/gpu:1"]; None takes all GPUs, or the CPUs where there is none.
        logical_devices: splits the CPU into this many logical devices first: the same program without GPUs.

    Raises:
        ConfigError: TensorFlow's devices were used before they could be split.
    """
    import tensorflow as tf

    from trainers.compat.tensorflow import mirrored_strategy

    if logical_devices is not None:
        devices = _split_cpu(tf, logical_devices)
    if devices is None:
        kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        devices = [d.name for d in tf.config.list_logical_devices(kind)]
    strategy = mirrored_strategy(devices)
    return Placement(name="mirrored", strategy=strategy, replicas_per_host=strategy.num_replicas_in_sync)


def _split_cpu(tf: Any, count: int) -> list[str]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        have = len(tf.config.list_logical_devices("CPU"))
        if have < count:
            raise ConfigError(
                f"logical_devices={count}: TensorFlow runs with {have} already: create the strategy before anything is computed"
            ) from error
    return [f"/cpu:{i}" for i in range(count)]
