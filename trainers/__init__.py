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
    "ShardedEmbedding",
    "ShardedTable",
    "TrainResult",
    "Trainer",
    "TrainerConfig",
    "tf_config",
]

_HOMES = {
    "ArrayDataset": "engine.dataset.arrays",
    "CheckpointConfig": "trainers.config.saving",
    "EarlyStopping": "trainers.config.saving",
    "LearningRate": "trainers.config.config",
    "PadList": "trainers.config.padding",
    "ModelContext": "trainers.models.context",
    "Preempted": "trainers.loop.interrupt",
    "ShardedEmbedding": "trainers.tables.layer",
    "ShardedTable": "trainers.tables.table",
    "TrainResult": "trainers.loop.training_result",
    "Trainer": "trainers.loop.trainer",
    "TrainerConfig": "trainers.config.config",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "tf_config":
        return importlib.import_module("trainers.supervision.tf_config")
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")
