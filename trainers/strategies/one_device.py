"""One device of this machine: the first GPU, else the CPU."""

from __future__ import annotations

from trainers.strategies.placement import Placement
from trainers.supervision.tf_config import Task

__all__ = ["create"]


def create(task: Task, device: str | None = None) -> Placement:
    """Returns a placement on one device.

    Args:
        task: unused, one process.
        device: e.g. "/gpu:0"; None takes the first GPU, or the CPU where there is none.
    """
    import tensorflow as tf

    chosen = device or ("/gpu:0" if tf.config.list_physical_devices("GPU") else "/cpu:0")
    return Placement(name="one_device", strategy=tf.distribute.OneDeviceStrategy(chosen))
