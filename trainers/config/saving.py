"""When a training run saves, when it stops early, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.configs import check_types, require

__all__ = ["CheckpointConfig", "EarlyStopping"]


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are written and which of them are kept.

    Args:
        every_steps: save at the first call boundary after each multiple of it; None saves at the end of epochs only.
        every_s: save as well when this many seconds have passed since the last save; None: never by time.
        keep: newest checkpoints that are kept, at least 1.
        keep_every_s: besides those, one checkpoint for each such span of wall time is kept for good; None: none.
        asynchronous: write in the background from a copy in memory; the loop waits only if the last write still runs.
    """

    every_steps: int | None = 1000
    every_s: float | None = None
    keep: int = 3
    keep_every_s: float | None = None
    asynchronous: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        require(
            self.every_steps is None or self.every_steps >= 1, "every_steps", self.every_steps, "at least 1, or None"
        )
        require(self.every_s is None or self.every_s > 0, "every_s", self.every_s, "more than 0 seconds, or None")
        require(self.keep >= 1, "keep", self.keep, "at least 1: the last checkpoint is what a restart goes on from")
        require(
            self.keep_every_s is None or self.keep_every_s > 0,
            "keep_every_s",
            self.keep_every_s,
            "more than 0, or None",
        )


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Ends the training when an evaluation metric no longer gets better.

    Args:
        metric: key of the evaluation metrics, e.g. "loss" or "auc".
        mode: "min" or "max", whichever is better.
        patience: evaluations in a row without an improvement after which training ends.
        min_delta: smaller changes are not an improvement.
        restore_best: the returned model has the weights of the best evaluation.
    """

    metric: str = "loss"
    mode: str = "min"
    patience: int = 3
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        check_types(self)
        require(self.mode in ("min", "max"), "mode", self.mode, "'min' or 'max'")
        require(self.patience >= 1, "patience", self.patience, "at least 1")
        require(self.min_delta >= 0, "min_delta", self.min_delta, "0 or more")
