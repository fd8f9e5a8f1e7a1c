"""How a loss depends on the way in which a batch is cut: over replicas, and into slices that are accumulated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.models.adapters.own_steps import watched

__all__ = [
    "is_divided_by_replicas",
    "is_keras_own",
    "leaves_steps_out",
    "losses_of_whole_batches",
    "reduction_of",
    "returning_a_vector",
    "size_of_weights",
]

_KINDS = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "auto": "mean",
    "sum": "sum",
    "mean_with_sample_weight": "weighted_mean",
}

# Keras's own that make one number of all the examples they are shown, unless they are given axes.
_OF_WHOLE_BATCHES = {"Dice", "Tversky", "dice", "tversky"}


def reduction_of(losses: Iterable[Any]) -> str:
    """Returns "mean", "sum", "weighted_mean" or "mixed" of the compiled losses of a model; "mean" where it has none.

    Raises:
        ConfigError: a loss that is not reduced to one number.
    """
    kinds = set()
    for loss in losses:
        name = str(getattr(loss, "reduction", "mean"))
        if name not in _KINDS:
            raise ConfigError(
                f"loss {loss.name!r} has reduction={name!r}; a step needs one number: use sum_over_batch_size, "
                "mean_with_sample_weight or sum"
            )
        kinds.add(_KINDS[name])
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "mean"


def leaves_steps_out(loss: Any) -> bool:
    """Returns whether a compiled loss of either generation masks its own values: its mean is over what it leaves."""
    kinds = {kind.__name__ for kind in type(loss).__mro__} | {getattr(getattr(loss, "fn", None), "__name__", "")}
    named = getattr(loss, "ignore_class", None), getattr(loss, "_fn_kwargs", {}).get("ignore_class")
    return any(each is not None for each in named) or not kinds.isdisjoint({"CircleLoss", "circle"})


def is_keras_own(loss: Any) -> bool:
    """Returns whether a compiled loss is one that Keras, of either generation, wrote and that returns a number for each example."""
    function = getattr(loss, "fn", None) or type(loss)
    if {type(loss).__name__, getattr(function, "__name__", "")} & _OF_WHOLE_BATCHES:
        return False
    homes = {str(getattr(part, "__module__", "")).partition(".")[0] for part in (type(loss), function)}
    return homes <= {"keras", "tf_keras"}


def losses_of_whole_batches(losses: Iterable[Any], compute: Callable[[], None], in_replicas: bool) -> list[Any]:
    """Returns the losses whose function makes one number of all the examples it is shown.

    Args:
        losses: compiled ones that are not Keras's own.
        compute: the model's loss of a batch; the graph of it, which shows what they return, is thrown away.
        in_replicas: it can be computed in replica context only where there are several replicas.
    """
    found: dict[int, Any] = {}

    def noting(loss: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            value = call(*args, **options)
            if tf.TensorShape(getattr(value, "shape", ())).rank == 0:
                found[id(loss)] = loss
            return value

        return noted

    losses = list({id(loss): loss for loss in losses}.values())  # several outputs may have the same
    for loss in losses:  # one that the model of a run before had, too, is as it was written again
        if hasattr(vars(loss).get("call"), "of_whole_batch"):
            del loss.call
    if losses:
        with contextlib.ExitStack() as stack:
            for loss in losses:
                stack.enter_context(watched(loss, "call", noting(loss, loss.call)))
            # What fails here (a loss that asks for its replica) fails in a step, where the cause is explained, or not at all.
            with contextlib.suppress(Exception):
                strategy = tf.distribute.get_strategy()
                alone = strategy.num_replicas_in_sync == 1 or not in_replicas
                step: Callable[[], Any] = compute if alone else lambda: strategy.run(compute)
                tf.function(step, autograph=False).get_concrete_function()
    return list(found.values())


def returning_a_vector(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a loss function whose one number for a batch is a vector of length 1.

    Keras 3 divides the mean of a vector by the number of replicas, and a number that a function reduced itself not.
    """

    def call(*args: Any, **options: Any) -> Any:
        value = tf.convert_to_tensor(loss(*args, **options))
        return tf.reshape(value, [1]) if value.shape.rank == 0 else value

    call.of_whole_batch = True  # type: ignore[attr-defined]  # by which it is found where another model has the same loss
    return call


def size_of_weights(weights: Any, rows: Any) -> Any:
    """Returns the sum of the weights, float32, or the number of rows where there are no weights."""
    return tf.cast(rows, tf.float32) if weights is None else tf.reduce_sum(tf.cast(weights, tf.float32))


def is_divided_by_replicas(strategy: Any, loss: Callable[[], Any], owner: str) -> bool:
    """Returns whether a loss function divides its value by the number of replicas itself, by trying both.

    Keras's own losses do, a mean that a person writes does not. Called outside of the strategy's scope.

    Args:
        strategy: with several replicas.
        loss: of no arguments, without randomness.
        owner: whose it is, for the message.

    Raises:
        ConfigError: it does so with some of its terms only.
    """
    replicas = strategy.num_replicas_in_sync
    alone = float(np.asarray(loss()))
    together = float(strategy.experimental_local_results(strategy.run(loss))[0].numpy())
    if np.isclose(together * replicas, alone, rtol=1e-4, atol=1e-12) and alone != 0:
        return True
    if np.isclose(together, alone, rtol=1e-4, atol=1e-12) or alone == 0:
        return False
    raise ConfigError(
        f"compute_loss of {owner} is {alone:.6g} on one replica and {together:.6g} on each of {replicas}: some of its terms "
        "are divided by the number of replicas (those of keras.losses objects and of super().compute_loss) and some are not; "
        "divide the others by tf.distribute.get_strategy().num_replicas_in_sync"
    )
