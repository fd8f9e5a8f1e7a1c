"""Trackers by name, as settings have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.core.errors import ConfigError
from trainers.callbacks.base import Callback

__all__ = ["make_trackers"]


def make_trackers(trackers: Mapping[str, Any]) -> list[Callback]:
    """Returns the callbacks of `TrainerConfig.trackers`.

    Raises:
        ConfigError: an argument that a tracker does not have, or a library that is not installed.
    """
    made: list[Callback] = []
    for name, arguments in trackers.items():
        if name == "mlflow":
            from trainers.callbacks.mlflow_tracker import MLflowTracker as Tracker
        else:
            from trainers.callbacks.wandb_tracker import WandbTracker as Tracker  # type: ignore[assignment]
        try:
            made.append(Tracker(**arguments))
        except TypeError as error:
            raise ConfigError(f"trackers.{name}: {error}") from None
    return made
