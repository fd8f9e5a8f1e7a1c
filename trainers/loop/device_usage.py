"""How busy the GPUs of this process are, and how much of their memory it has taken."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import tensorflow as tf

__all__ = ["DeviceUsage"]


class DeviceUsage:
    """Reads NVIDIA's management library and TensorFlow's allocator; nothing where there is no GPU.

    How busy a GPU is needs the package nvidia-ml-py (`pip install 'fullpass[gpu]'`); without it memory alone is reported.
    """

    def __init__(self) -> None:
        self._devices = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("GPU")]
        self._handles = _handles() if self._devices else []

    def read(self) -> dict[str, float]:
        """Returns `gpu_utilization`, the share of the last second or so in which a kernel ran, mean over the GPUs, and
        `gpu_memory_gib`, the most that TensorFlow held on one of them; {} without a GPU."""
        if not self._devices:
            return {}
        values = {}
        with contextlib.suppress(ValueError):  # an allocator that does not count
            peaks = [tf.config.experimental.get_memory_info(device)["peak"] for device in self._devices]
            values["gpu_memory_gib"] = max(peaks) / (1 << 30)
        if self._handles:
            import pynvml

            with contextlib.suppress(pynvml.NVMLError):  # a virtual GPU may not say
                busy = [pynvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in self._handles]
                values["gpu_utilization"] = sum(busy) / len(busy) / 100
        return values


def _handles() -> list[Any]:
    """NVML's handles of the physical GPUs that TensorFlow uses."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the package is an extra; the driver's library may be missing, which it tells in several types
        return []
    found = []
    for device in tf.config.get_visible_devices("GPU"):
        number = int(device.name.rsplit(":", 1)[1])
        with contextlib.suppress(pynvml.NVMLError):
            found.append(_handle(number))
    return found


def _handle(number: int) -> Any:
    """The handle of the GPU that is the `number`-th of those CUDA_VISIBLE_DEVICES leaves: NVML counts all of them."""
    import pynvml

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    name = visible.split(",")[number].strip() if visible else str(number)
    if name.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(name))
    return pynvml.nvmlDeviceGetHandleByUUID(name)
