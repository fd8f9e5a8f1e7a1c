"""Training with tf.distribute that survives its workers, export, evaluation and versioned push.

Names are imported when they are asked for: supervisors use this package without TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "ArrayDataset",
    "CheckpointConfig",
    "EarlyStopping",
    "LearningRate",
    "ModelContext",
    "PadList",
    "Preempted",
    "TrainResult",
    "Trainer",
    "TrainerConfig",
    "tf_config",
]

_HOMES = {
    "ArrayDataset": "trainers.memory",
    "CheckpointConfig": "trainers.config",
    "EarlyStopping": "trainers.config",
    "LearningRate": "trainers.config",
    "PadList": "trainers.config",
    "ModelContext": "trainers.context",
    "Preempted": "trainers.interrupt",
    "TrainResult": "trainers.result",
    "Trainer": "trainers.trainer",
    "TrainerConfig": "trainers.config",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "tf_config":
        return importlib.import_module("trainers.tf_config")
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")
