"""Hooks into a run: callbacks of our own, Keras's where they fit, and trackers."""

from __future__ import annotations

from typing import Any

__all__ = ["Callback", "MLflowTracker", "TrainingRun", "WandbTracker"]

_HOMES = {
    "Callback": "trainers.callbacks.base",
    "MLflowTracker": "trainers.callbacks.mlflow_tracker",
    "TrainingRun": "trainers.callbacks.base",
    "WandbTracker": "trainers.callbacks.wandb_tracker",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
