"""A started strategy and this process's share of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Placement"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A strategy and the place of this process in it.

    Args:
        name: key in the registry.
        strategy: a `tf.distribute.Strategy`.
        host: this process's index among those that read data, from 0.
        num_hosts: processes that read data.
        replicas_per_host: devices of this process that each take an equal part of its batch.
        coordinator: a `ClusterCoordinator` for asynchronous training, else None.
        jit_required: the devices run compiled programs only (TPU).
        close: ends what `create` started.
    """

    name: str
    strategy: Any
    host: int = 0
    num_hosts: int = 1
    replicas_per_host: int = 1
    coordinator: Any = None
    jit_required: bool = False
    close: Callable[[], None] = lambda: None

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints and logs."""
        return self.host == 0

    @property
    def num_replicas(self) -> int:
        """Replicas over all processes."""
        return self.num_hosts * self.replicas_per_host

    @property
    def on_gpu(self) -> bool:
        """Whether GPUs compute the steps."""
        devices = self.strategy.extended.worker_devices if self.coordinator is None else ()
        return any("GPU" in device for device in devices)

    @property
    def one_buffer(self) -> bool:
        """Whether batches of numbers come as one buffer: where they are copied to one device that is not this host's memory."""
        return self.on_gpu and self.num_replicas == 1
