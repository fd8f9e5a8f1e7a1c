"""A callback of our own: what it is called with, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Callback", "TrainingRun", "matched"]


class TrainingRun:
    """The run as a callback sees it.

    Attributes:
        model: the live model.
        config: the `TrainerConfig`.
        total_steps: optimizer steps of the whole run.
        resumed_from: step this process started from.
        step: optimizer steps done.
        epoch: passes over the data so far.
        stopping: some callback asked for the end.
    """

    def __init__(self, model: Any, config: Any, total_steps: int, steps_per_epoch: int, resumed_from: int) -> None:
        self.model, self.config, self.total_steps, self.resumed_from = model, config, total_steps, resumed_from
        self._steps_per_epoch = steps_per_epoch
        self.step = resumed_from
        self.stopping = False

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.step / self._steps_per_epoch

    def stop(self) -> None:
        """Ends the run at the next boundary, as early stopping does: with a last checkpoint and a result."""
        self.stopping = True


class Callback:
    """Hooks that run on the chief, between calls of the compiled step; an error in one ends the run.

    A restart builds the callback anew, gives it the state of the checkpoint by `set_state`, and calls `on_start` after that.

    Attributes:
        name: tells callbacks of one class apart: a restart gives each the state of its class and name, wherever it stands in the list.
    """

    name: str = ""

    def on_start(self, run: TrainingRun) -> None:
        """Called before the first step of this process."""

    def on_call(self, run: TrainingRun, loss: float) -> None:
        """Called after every call of the compiled function (`steps_per_call` steps) with the loss of its last step."""

    def on_log(self, run: TrainingRun, metrics: Mapping[str, float]) -> None:
        """Called at each `log_every_steps` with the training metrics since the last time."""

    def on_evaluation(self, run: TrainingRun, metrics: Mapping[str, float]) -> None:
        """Called after each evaluation with its metrics; without evaluation data at the end of each epoch, with none."""

    def on_end(self, run: TrainingRun) -> None:
        """Called once after the last step, and not where the run is interrupted."""

    def get_state(self) -> dict[str, Any]:
        """Returns what a restart needs, JSON-able; it is saved with each checkpoint."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes the state of the checkpoint that the run goes on from."""


def matched(
    callbacks: Sequence[Any], states: Sequence[Any], rules: Sequence[Callable[[Any, Any], bool]]
) -> dict[int, int]:
    """Returns number of a callback to number of the saved state that is its, for those that have one.

    Each of the rules (state, callback) in turn gives the callbacks that have none the first state that fits and is nobody's yet.
    """
    found: dict[int, int] = {}
    for fits in rules:
        for i, callback in enumerate(callbacks):
            left = (j for j, state in enumerate(states) if j not in found.values() and fits(state, callback))
            number = None if i in found else next(left, None)
            if number is not None:
                found[i] = number
    return found
