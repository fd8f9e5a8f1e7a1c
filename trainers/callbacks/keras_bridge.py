"""Keras's callbacks at the boundaries of this loop.

An epoch of Keras is here the span from one evaluation to the next (without evaluation data, an epoch of the data); its
batch is a call of the compiled function, as under Keras's own `steps_per_execution`. So EarlyStopping,
ReduceLROnPlateau, ModelCheckpoint, CSVLogger, TensorBoard, LambdaCallback, LearningRateScheduler and TerminateOnNaN see
what they see in `Model.fit`: `loss`, the metrics, and `val_...`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.core.errors import ConfigError
from engine.core.run_log import tell
from trainers.callbacks.base import Callback, TrainingRun, matched
from trainers.callbacks.keras_identity import has_settings_of, settings_of, watches_the_same

__all__ = ["KerasCallbacks", "is_keras_callback"]

_OWN = ("examples_per_s", "input_wait_share", "step_ms_p50", "step_ms_p95")
# What EarlyStopping, ReduceLROnPlateau and ModelCheckpoint count. Others of their attributes are changed when training begins
# (the sign of min_delta), and may not be put back.
_COUNTERS = ("best", "best_epoch", "cooldown_counter", "stopped_epoch", "wait")
_WRITE_WEIGHTS = ("SwapEMAWeights",)


def is_keras_callback(callback: Any) -> bool:
    """Returns whether this is a callback of either generation of Keras."""
    return any(isinstance(callback, one.callbacks.Callback) for one in _generations())


def _generations() -> list[Any]:
    import keras

    keras2 = sys.modules.get("tf_keras")
    return [keras, *([keras2] if keras2 is not None else [])]


class KerasCallbacks(Callback):
    """A list of Keras callbacks as one of ours.

    Args:
        callbacks: of Keras, in their order.
        model: the Keras model that is trained.
        num_hosts: processes that train; more than one refuses callbacks that write weights, which only the chief's would be.

    Raises:
        ConfigError: no Keras model, one of the other generation of Keras, or a callback that does not fit this loop.
    """

    def __init__(self, callbacks: Sequence[Any], model: Any, num_hosts: int) -> None:
        home = next((one for one in _generations() if isinstance(model, one.Model)), None)
        for callback in callbacks:
            _check(callback, home, num_hosts)
        assert home is not None
        self._callbacks = list(callbacks)
        self._model = model
        self._list = home.callbacks.CallbackList(self._callbacks, add_history=False, add_progbar=False, model=model)
        self._epoch = self._batch = 0
        self._begun = False  # whether the callbacks know of the epoch's begin
        self._train: dict[str, float] = {}
        self._restored: Mapping[str, Any] | None = None
        self._restored_weights: Mapping[str, list[Any]] = {}

    def on_start(self, run: TrainingRun) -> None:
        """Begins the training and its first epoch; the numbers that callbacks keep are those of the checkpoint."""
        self._list.set_params({"epochs": None, "steps": run.total_steps, "verbose": 0})
        self._model.stop_training = False
        self._list.on_train_begin()
        if self._restored is not None:
            self._take_over(self._restored)
        rate = self._rate()
        self._begin_epoch()
        # LearningRateScheduler made the rate of an epoch that had begun out of the one before: not once more.
        if self._had_begun() and rate is not None and rate != self._rate():
            self._model.optimizer.learning_rate = rate

    def _take_over(self, state: Mapping[str, Any]) -> None:
        self._epoch = int(state.get("epoch", 0))
        saved = state.get("callbacks", ())
        # Another patience is the same callback tuned, while one that was put in beside it begins anew.
        for i, number in matched(self._callbacks, saved, (has_settings_of, watches_the_same)).items():
            callback, (name, numbers, *_) = self._callbacks[i], saved[number]
            weights = self._restored_weights.get(str(number))
            if weights is not None:
                callback.best_weights = weights
            elif getattr(callback, "restore_best_weights", False) and "best" in numbers:
                # Keras would take those of the next epoch for the best ones.
                numbers = {k: v for k, v in numbers.items() if k not in ("best", "best_epoch", "wait")}
                tell(f"{name}: the checkpoint has no weights of the best epoch; the best one is counted from here on")
            vars(callback).update(numbers)

    def _had_begun(self) -> bool:
        """Whether the epoch had begun in the run before, under each scheduler of this one."""
        if self._restored is None or not self._restored.get("begun", True):
            return False
        names = {name for name, *_ in self._restored.get("callbacks", ())}
        # A scheduler that is new sets the rate; other callbacks that came or went have nothing to do with it.
        return all(type(each).__name__ in names for each in self._callbacks if hasattr(each, "schedule"))

    def _rate(self) -> float | None:
        """Returns the optimizer's rate, None where it is a schedule of tf_keras, which no callback can change."""
        import tensorflow as tf

        rate = getattr(self._model.optimizer, "learning_rate", None)
        return None if rate is None or callable(rate) else float(tf.convert_to_tensor(rate))

    def _begin_epoch(self) -> None:
        self._batch, self._begun = 0, True
        self._list.on_epoch_begin(self._epoch)

    def on_call(self, run: TrainingRun, loss: float) -> None:
        """Is a batch of Keras."""
        self._list.on_train_batch_begin(self._batch)
        self._list.on_train_batch_end(self._batch, {"loss": loss})
        self._batch += 1
        self._look(run)

    def on_log(self, run: TrainingRun, metrics: Mapping[str, float]) -> None:
        """Keeps the training metrics for the end of the epoch."""
        self._train = {name: value for name, value in metrics.items() if name not in _OWN}

    def on_evaluation(self, run: TrainingRun, metrics: Mapping[str, float]) -> None:
        """Is the end of an epoch of Keras."""
        if metrics:
            self._list.on_test_begin()
            self._list.on_test_end(dict(metrics))
        self._list.on_epoch_end(self._epoch, {**self._train, **{f"val_{k}": v for k, v in metrics.items()}})
        self._epoch, self._begun = self._epoch + 1, False
        self._look(run)
        if not run.stopping and run.step < run.total_steps:
            self._begin_epoch()

    def on_end(self, run: TrainingRun) -> None:
        """Ends the training."""
        self._list.on_train_end(dict(self._train))

    def _look(self, run: TrainingRun) -> None:
        if self._model.stop_training:
            run.stop()

    def get_state(self) -> dict[str, Any]:
        """Returns the number of the epoch, and what each callback of Keras has counted."""
        kept = [
            [
                type(callback).__name__,
                {k: float(vars(callback)[k]) for k in _COUNTERS if _is_number(callback, k)},
                settings_of(callback),
            ]
            for callback in self._callbacks
        ]
        return {"epoch": self._epoch, "begun": self._begun, "callbacks": kept}

    def get_weights(self) -> list[tuple[str, Any]]:
        """Returns (name, array) of the best weights that EarlyStopping keeps for the end (restore_best_weights)."""
        kinds = tuple(one.callbacks.EarlyStopping for one in _generations())
        kept = [(i, c.best_weights or ()) for i, c in enumerate(self._callbacks) if isinstance(c, kinds)]
        return [(f"{i}/{at}", array) for i, weights in kept for at, array in enumerate(weights)]

    def set_weights(self, named: Sequence[tuple[str, Any]]) -> None:
        """Takes over the weights of `get_weights` when training begins."""
        found: dict[str, list[Any]] = {}
        for name, array in named:
            found.setdefault(name.partition("/")[0], []).append(array)
        self._restored_weights = found

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Is taken over when training begins: Keras's callbacks forget everything there."""
        self._restored = state


def _is_number(callback: Any, name: str) -> bool:
    value = vars(callback).get(name)  # a callback of the user's own may keep anything under such a name
    if isinstance(value, np.ndarray | np.generic):
        value = value.item() if value.ndim == 0 else None
    return isinstance(value, int | float) and math.isfinite(value)


def _check(callback: Any, home: Any, num_hosts: int) -> None:
    name = type(callback).__name__
    if home is None:
        raise ConfigError(f"callbacks: {name} is of Keras, the model is not: write a trainers.callbacks.Callback")
    if not isinstance(callback, home.callbacks.Callback):
        raise ConfigError(
            f"callbacks: {name} is of another Keras than the model: take it from {home.__name__}.callbacks"
        )
    if name == "BackupAndRestore":
        raise ConfigError(
            "callbacks: BackupAndRestore would restore beside the trainer, whose checkpoints do that already"
        )
    writes = name in _WRITE_WEIGHTS or getattr(callback, "restore_best_weights", False)
    if num_hosts > 1 and writes:
        raise ConfigError(
            f"callbacks: {name} writes weights, on the chief alone of {num_hosts} workers: use early_stopping or ema_decay "
            "of the TrainerConfig"
        )
