"""push: a model that met its thresholds becomes the one that is served."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from engine.core.configs import check_types, require
from engine.storage.uris import require_local

__all__ = ["PushConfig", "run"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PushConfig:
    """Where a model that met its thresholds is served from.

    Attributes:
        to: serving directory of numbered versions, on a file system.
        keep: newest versions that stay, 2 or more; None keeps all.
    """

    to: str
    keep: int | None = None

    def __post_init__(self) -> None:
        check_types(self)
        require_local("push.to", self.to)  # now, and not after the training
        require(
            self.keep is None or self.keep >= 2, "keep", self.keep, "2 or more: the served one and one to roll back to"
        )


def run(config: PushConfig, model: str, *, evaluation: Any = None, force: bool = False) -> Path:
    """Returns the version that is served from now on.

    Args:
        config: settings.
        model: SavedModel, or the directory of its versions (the newest).
        evaluation: an `EvaluationResult` of this model, or its file.
        force: push without a blessing; the history says so.

    Raises:
        ConfigError: no model, or one that is not blessed.
    """
    from trainers.serving.push import push

    return push(model, config.to, evaluation=evaluation, force=force, keep=config.keep)
