"""The progress of a training run, apart from tensors: what goes to `state.json` and comes back from it. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.errors import ConfigError
from trainers.config.config import TrainerConfig
from trainers.config.saving import EarlyStopping

__all__ = ["TrainingState", "next_boundary"]


@dataclass(kw_only=True)
class TrainingState:
    """Counts and results so far.

    Attributes:
        step: optimizer steps done.
        best: best value of the early-stopping metric, its step, and evaluations since without an improvement.
        history: one dict for each evaluation or end of epoch.
        stopped_early: early stopping ended the training.
        skipped_steps: steps that were taken back since their loss or weights were not finite (on_nan="skip").
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    evaluations_since_best: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped_early: bool = False
    skipped_steps: int = 0

    def as_json(self) -> dict[str, Any]:
        """Returns the state as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainingState:
        """Returns the state of `as_json`."""
        return cls(**{f.name: value[f.name] for f in dataclasses.fields(cls) if f.name in value})

    @classmethod
    def resumed(cls, saved: Mapping[str, Any], stopping: EarlyStopping | None) -> TrainingState:
        """Returns the state of a checkpoint for a run whose early stopping may be another one now.

        Args:
            saved: state of the checkpoint.
            stopping: of this run.
        """
        state = cls.from_json(saved["training"])
        before, now = saved["config"].get("early_stopping"), None if stopping is None else dataclasses.asdict(stopping)
        if before == now:
            return state
        if before is None or now is None or (before["metric"], before["mode"]) != (now["metric"], now["mode"]):
            state.best = state.best_step = None  # the values of two metrics do not compare
            state.evaluations_since_best = 0
        state.stopped_early = stopping is not None and state.evaluations_since_best >= stopping.patience
        return state

    def judge(self, metrics: dict[str, float], stopping: EarlyStopping) -> bool:
        """Takes an evaluation in and returns whether it is the best so far; sets `stopped_early` when patience ends.

        A value that is not finite is never the best.

        Raises:
            ConfigError: a test_step of the model's own neither counts nor returns the metric.
        """
        if stopping.metric not in metrics:
            raise ConfigError(
                f"early_stopping.metric {stopping.metric!r} not found; the model's test_step gave {', '.join(metrics)}"
            )
        value = metrics[stopping.metric]
        sign = 1.0 if stopping.mode == "min" else -1.0
        if math.isfinite(value) and (self.best is None or sign * value < sign * self.best - stopping.min_delta):
            self.best, self.best_step, self.evaluations_since_best = value, self.step, 0
            return True
        self.evaluations_since_best += 1
        self.stopped_early = self.evaluations_since_best >= stopping.patience
        return False

    def best_as_text(self, metric: str) -> str:
        """Returns what the best evaluation was, by the metric of the early stopping."""
        if self.best is None:
            return f"{metric} was a finite number in none of its evaluations"
        return f"{metric} {self.best:.5g} of step {self.best_step} was the best"


def next_boundary(step: int, config: TrainerConfig, steps_per_epoch: int, total_steps: int) -> int:
    """Returns the step at which the call that starts at `step` ends.

    Calls end on the grid of `steps_per_call` and at epochs, evaluations and the ends of a profile, whatever happened
    before: a run that was interrupted makes the same calls as one that was not.
    """
    grids = [config.steps_per_call, steps_per_epoch]
    if config.eval_every_steps:
        grids.append(config.eval_every_steps)
    ends = [total_steps] + [(step // grid + 1) * grid for grid in grids]
    for edge in config.profile_steps or ():
        ends += [e for e in (edge, edge + 1) if e > step]
    return min(ends)
