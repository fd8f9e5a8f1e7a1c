"""What a pod gets of a node: cores, memory, GPUs, TPU chips."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from cluster.spec.quantity import parse_quantity
from engine.core.errors import ConfigError

__all__ = ["Resources"]

_CHIPS_PER_NODE = (1, 4, 8)  # https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus
_LEAST_MEMORY = 32 << 20


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What each pod of a role asks for; request and limit are the same, so that no neighbour can starve it.

    Attributes:
        cpu: cores, e.g. "4" or "500m".
        memory: bytes, e.g. "8Gi".
        gpu: number of nvidia.com/gpu.
        tpu: number of google.com/tpu chips on each pod's node: 1, 4 or 8.
        tpu_accelerator: value of the node label cloud.google.com/gke-tpu-accelerator, e.g. "tpu-v5-lite-podslice".
        tpu_topology: chips of the whole slice, e.g. "2x4".
        ephemeral_storage: disk of the node that a pod may fill (logs, /tmp, its own layer); more evicts it.

    Raises:
        ConfigError: an amount that is not a quantity or makes no sense.
    """

    cpu: str | int | float = "1"
    memory: str | int | float = "2Gi"
    gpu: int = 0
    tpu: int = 0
    tpu_accelerator: str | None = None
    tpu_topology: str | None = None
    ephemeral_storage: str = "4Gi"

    def __post_init__(self) -> None:
        for key in ("cpu", "memory", "ephemeral_storage"):
            object.__setattr__(self, key, str(getattr(self, key)))
        if parse_quantity(self.ephemeral_storage, "ephemeral_storage") < _LEAST_MEMORY:
            raise ConfigError(
                f"ephemeral_storage: got {self.ephemeral_storage!r}; expected at least 32Mi, since it holds /tmp and the logs, e.g. '4Gi'"
            )
        cores = parse_quantity(str(self.cpu), "cpu")
        if cores <= 0 or cores * 1000 != int(cores * 1000):
            raise ConfigError(f"cpu: got {self.cpu!r}; expected a positive number of cores in steps of '1m'")
        if cores > 1024:
            raise ConfigError(
                f"cpu: got {self.cpu!r}; expected at most 1024 cores (a thousandth of a core is written '1m')"
            )
        if parse_quantity(str(self.memory), "memory") < _LEAST_MEMORY:
            raise ConfigError(
                f"memory: got {self.memory!r}; expected at least 32Mi, e.g. '512Mi' or '8Gi' ('m' is a thousandth)"
            )
        for key in ("gpu", "tpu"):
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ConfigError(f"{key}: got {value!r}; expected a whole number from 0")
        if self.gpu and self.tpu:
            raise ConfigError(f"gpu: got {self.gpu}; expected 0 with tpu = {self.tpu}: a pod has the one or the other")
        self._check_tpu()

    def _check_tpu(self) -> None:
        if not self.tpu:
            if self.tpu_accelerator or self.tpu_topology:
                raise ConfigError(
                    f"tpu_accelerator={self.tpu_accelerator!r} and tpu_topology={self.tpu_topology!r} need tpu, the number of chips on "
                    "each pod's node"
                )
            return
        if self.tpu not in _CHIPS_PER_NODE:
            raise ConfigError(
                f"tpu: got {self.tpu}; expected {', '.join(map(str, _CHIPS_PER_NODE))}, the chips of a TPU node"
            )
        if not self.tpu_accelerator or not self.tpu_topology:
            raise ConfigError(
                f"tpu={self.tpu} needs tpu_accelerator (e.g. 'tpu-v5-lite-podslice') and tpu_topology (e.g. '2x4')"
            )
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", self.tpu_topology):
            raise ConfigError(f"tpu_topology: got {self.tpu_topology!r}; expected e.g. '2x4' or '2x2x2'")
        if self.tpu_chips % self.tpu:
            raise ConfigError(
                f"tpu_topology: got {self.tpu_topology!r}, {self.tpu_chips} chips; expected a multiple of tpu = {self.tpu}"
            )

    @property
    def tpu_chips(self) -> int:
        """Chips of the whole slice; 0 without a topology."""
        return math.prod(int(n) for n in self.tpu_topology.split("x")) if self.tpu_topology else 0

    @property
    def whole_cores(self) -> int:
        """Cores, rounded up: threads that a member can keep busy."""
        return math.ceil(parse_quantity(str(self.cpu), "cpu"))

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes."""
        return int(parse_quantity(str(self.memory), "memory"))
