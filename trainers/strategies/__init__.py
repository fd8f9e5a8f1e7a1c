"""Where the replicas run: one module a strategy, found by name.

Each module has `create(options, task) -> Placement`. TensorFlow is imported when one is created.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from engine.core.errors import ConfigError
from trainers.strategies.placement import Placement
from trainers.supervision.tf_config import Task, task_from_env

__all__ = ["STRATEGIES", "Placement", "create_placement"]

STRATEGIES = {
    "one_device": "trainers.strategies.one_device",
    "mirrored": "trainers.strategies.mirrored",
    "multi_worker_mirrored": "trainers.strategies.multi_worker_mirrored",
    "parameter_server": "trainers.strategies.parameter_server",
    "tpu": "trainers.strategies.tpu",
}


def create_placement(name: str, options: Mapping[str, Any] | None = None, task: Task | None = None) -> Placement:
    """Returns the strategy of that name, started.

    Args:
        name: a key of `STRATEGIES`, or "auto": parameter_server where the cluster has ps tasks, multi_worker_mirrored
            where it has several workers, mirrored where this machine has several GPUs, else one_device.
        options: keyword arguments of the strategy's `create`.
        task: this process's place in the cluster; from TF_CONFIG where None.

    Raises:
        ConfigError: an unknown name or option, or a cluster that does not fit the strategy.
    """
    task = task if task is not None else task_from_env()
    chosen = _automatic(task) if name == "auto" else name
    if chosen not in STRATEGIES:
        raise ConfigError(f"strategy={name!r}: allowed are auto, {', '.join(STRATEGIES)}")
    if chosen in ("one_device", "mirrored", "tpu") and task.num_training_tasks > 1:
        raise ConfigError(
            f"strategy={name!r} runs in one process, but TF_CONFIG has {task.num_training_tasks} tasks: "
            "use multi_worker_mirrored or parameter_server, or start one worker"
        )
    module = importlib.import_module(STRATEGIES[chosen])
    try:
        placement: Placement = module.create(task=task, **dict(options or {}))
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ConfigError(f"strategy_options={dict(options or {})!r} of strategy {chosen!r}: {error}") from None
    return placement


def _automatic(task: Task) -> str:
    if task.cluster.get("ps"):
        return "parameter_server"
    if task.num_training_tasks > 1:
        return "multi_worker_mirrored"
    import tensorflow as tf

    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one_device"
