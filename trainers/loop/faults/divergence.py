"""What happens at a loss or a weight that is not a finite number: stop with its place, take the step back, or go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from engine.core.errors import FullpassError
from engine.core.run_log import tell
from trainers.checkpoints.progress_state import TrainingState
from trainers.config.config import TrainerConfig
from trainers.loop.faults.step_guard import first_bad_tensor

__all__ = ["DivergenceWatch", "TrainingDiverged", "bad_values"]

_SAID_AT_MOST = 10


class TrainingDiverged(FullpassError):
    """A loss or weight became NaN or infinite; the last good checkpoint is kept.

    Attributes:
        step: number of the step, from 1.
    """

    def __init__(self, step: int, message: str) -> None:
        self.step = step
        super().__init__(message)


class DivergenceWatch:
    """Looks at the losses of each call, and at the weights before they are saved.

    Args:
        config: settings; `on_nan` says what to do.
        state: counts the steps that were skipped.
        records: step done before to a text about the records of the next one.
        last_good: returns the path of the last checkpoint, after waiting for one that is being written.
        is_chief: says what is said.
    """

    def __init__(
        self,
        config: TrainerConfig,
        state: TrainingState,
        records: Callable[[int], str],
        last_good: Callable[[], str | None],
        is_chief: bool,
    ) -> None:
        self._config, self._state, self._records, self._last_good = config, state, records, last_good
        self._chief, self._said = is_chief, 0

    def look_at(self, first_step: int, losses: np.ndarray) -> None:
        """Takes the losses of the call in that began after `first_step` steps.

        Raises:
            TrainingDiverged: one of them is not finite, under on_nan="stop".
        """
        bad = np.flatnonzero(~np.isfinite(losses))
        if not len(bad):
            return
        step = first_step + int(bad[0])
        if self._config.on_nan == "stop":
            good = self._last_good()
            raise TrainingDiverged(
                step + 1,
                f"the loss of step {step + 1} is {float(losses[bad[0]])}; {self._records(step)}; "
                f"{f'the last good checkpoint is {good}' if good else 'nothing was saved before it'}; "
                "look at these records, lower the learning rate, set clip_norm, or give on_nan='skip'",
            )
        if self._config.on_nan == "skip":
            self._state.skipped_steps += len(bad)
            self._say(f"step {step + 1} was taken back: its loss or weights are not finite; {self._records(step)}")
        elif not self._said:
            self._say(f"the loss of step {step + 1} is {float(losses[bad[0]])}; it goes on since on_nan='go_on'")

    def look_at_weights(self, tensors: Mapping[str, Any], trained: Collection[str]) -> bool:
        """Returns whether the weights that are to be saved are finite; arguments as those of `first_bad_tensor`.

        Raises:
            TrainingDiverged: they are not, under on_nan="stop".
        """
        name = first_bad_tensor(tensors, trained)
        if name is None:
            return True
        if self._config.on_nan == "stop":
            step, good = self._state.step, self._last_good()
            raise TrainingDiverged(
                step,
                f"weight {name} is not a finite number after step {step}, so it is not saved; "
                f"{f'the last good checkpoint is {good}' if good else 'nothing was saved before it'}; "
                "lower the learning rate, or set clip_norm",
            )
        return False

    def _say(self, text: str) -> None:
        self._said += 1
        if self._chief and self._said <= _SAID_AT_MOST:
            more = "; further ones are only counted" if self._said == _SAID_AT_MOST else ""
            tell(f"{text}{more}")


def bad_values(columns: Mapping[str, np.ndarray], record_ids: np.ndarray) -> tuple[str, int, float] | None:
    """Returns (column, record id, value) of the first value that is not a finite number among dense columns, or None."""
    for name, array in columns.items():
        if array.dtype.kind != "f" or array.ndim == 0 or len(array) != len(record_ids):
            continue
        flat = array.reshape(len(array), -1)
        rows = np.flatnonzero(~np.isfinite(flat).all(axis=1))
        if len(rows):
            row = flat[rows[0]]
            return name, int(record_ids[rows[0]]), next(float(v) for v in row if not math.isfinite(v))
    return None
