"""The result of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["TrainResult"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The outcome of `Trainer.fit`.

    Attributes:
        model: the trained model, live in this process; with early stopping the best one, with moving averages those.
        steps: optimizer steps done, over all restarts.
        epochs: passes over the data, a fraction where one was not finished.
        metrics: of the last logged steps of training.
        eval_metrics: of the last evaluation (of the best one with early stopping).
        history: a dict for each evaluation: step, epoch, train_... and eval metrics.
        checkpoint: path of the last commit.
        best_checkpoint: path of the best evaluation's, with early stopping.
        stopped_early: early stopping ended it.
        resumed_from: step this process started from; 0 for a new training.
        seconds: where this process's time went: "start", "input", "compute", "evaluate", "save" (what the loop waited).
        examples_per_s: over the calls of this process, without evaluations and saves.
        is_chief: this process is the one that writes; exports happen there.
    """

    model: Any
    steps: int
    epochs: float
    metrics: dict[str, float] = field(default_factory=dict)
    eval_metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    checkpoint: str | None = None
    best_checkpoint: str | None = None
    stopped_early: bool = False
    resumed_from: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    examples_per_s: float = 0.0
    is_chief: bool = True
