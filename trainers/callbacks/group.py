"""All callbacks of a run: called on the chief, what they decide made known to every host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.callbacks.base import Callback, TrainingRun, matched
from trainers.callbacks.keras_bridge import KerasCallbacks, is_keras_callback

__all__ = ["CallbackGroup"]


class CallbackGroup:
    """The callbacks of a run.

    On several hosts only the chief calls them. The end that one asks for, and the learning rate that one sets, reach the
    others after evaluations and epochs, where all hosts meet; on one host an end is seen after each call.

    Args:
        callbacks: of our own or Keras's.
        run: what they see.
        placement: where the replicas are.
        adapter: the model.
    """

    def __init__(self, callbacks: Sequence[Any], run: TrainingRun, placement: Any, adapter: Any) -> None:
        self._run, self._placement, self._adapter = run, placement, adapter
        self._any = bool(callbacks)
        own = [callback for callback in callbacks if isinstance(callback, Callback)]
        theirs = [callback for callback in callbacks if not isinstance(callback, Callback)]
        strange = [callback for callback in theirs if not is_keras_callback(callback)]
        if strange:
            raise ConfigError(
                f"callbacks: {type(strange[0]).__name__} is neither a trainers.callbacks.Callback nor one of Keras"
            )
        if theirs:
            own.append(KerasCallbacks(theirs, run.model, placement.num_hosts))
        self._callbacks: list[Callback] = own if placement.is_chief else []
        self._agree = tf.function(self._summed, autograph=False)

    def get_states(self) -> list[Any]:
        """Returns class (and name) and state of each callback, for the checkpoint."""
        return [[_identity(callback), callback.get_state()] for callback in self._callbacks]

    def tensors(self) -> dict[str, list[tuple[str, Any]]]:
        """Returns group to (name, tensor) of the weights that Keras's callbacks keep, for the checkpoint; {} where they keep none."""
        theirs = [callback for callback in self._callbacks if isinstance(callback, KerasCallbacks)]
        kept = [(name, tf.constant(array)) for callback in theirs for name, array in callback.get_weights()]
        return {"callbacks": kept} if kept else {}

    @property
    def present(self) -> bool:
        """Whether the run has callbacks; the same on every host."""
        return self._any

    def start(self, states: Sequence[Any], tensors: Mapping[str, Any]) -> None:
        """Begins; `states` are those of the checkpoint that the run goes on from, `tensors` its group "callbacks"."""
        # Those saved by a version that knew no names of callbacks have that of the class alone.
        rules = [lambda state, callback, of=of: state[0] == of(callback) for of in (_identity, _class_name)]
        for i, number in sorted(matched(self._callbacks, states, rules).items()):
            callback, (_, state) = self._callbacks[i], states[number]
            callback.set_state(state)
            if isinstance(callback, KerasCallbacks):
                callback.set_weights([(name.partition(":")[2], tensor.numpy()) for name, tensor in tensors.items()])
        for callback in self._callbacks:
            callback.on_start(self._run)

    def called(self, step: int, loss: float) -> bool:
        """After a call; returns whether the run shall end."""
        self._run.step = step
        for callback in self._callbacks:
            callback.on_call(self._run, loss)
        return self._run.stopping and self._placement.num_hosts == 1

    def logged(self, metrics: Mapping[str, float]) -> None:
        """After training metrics were read."""
        for callback in self._callbacks:
            callback.on_log(self._run, metrics)

    def evaluated(self, metrics: Mapping[str, float]) -> bool:
        """After an evaluation, or an epoch without one, on every host; returns whether the run shall end."""
        if not self._any:
            return False
        before = self._adapter.learning_rate
        for callback in self._callbacks:
            callback.on_evaluation(self._run, metrics)
        if self._placement.num_hosts == 1:
            return self._run.stopping
        after = self._adapter.learning_rate
        mine = [float(self._run.stopping), float(after != before), after] if self._placement.is_chief else [0.0] * 3
        stop, changed, rate = (self._agree(tf.constant(mine, tf.float64)) / self._placement.replicas_per_host).numpy()
        if changed and not self._placement.is_chief:
            self._run.model.optimizer.learning_rate = rate
        return bool(stop)

    def ended(self) -> None:
        """After the last step."""
        for callback in self._callbacks:
            callback.on_end(self._run)

    def _summed(self, values: Any) -> Any:
        def replica(values: Any) -> Any:
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)

        strategy = self._placement.strategy
        return strategy.experimental_local_results(strategy.run(replica, args=(values,)))[0]


def _identity(callback: Callback) -> str:
    """Returns the name of a callback's class, and its own, by which a checkpoint knows it again."""
    name = callback.name  # of a class that does not know of it, anything may be there
    return f"{_class_name(callback)}:{name}" if name and isinstance(name, str) else _class_name(callback)


def _class_name(callback: Callback) -> str:
    return type(callback).__name__
