"""Exponential moving averages of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

__all__ = ["OptimizerAverages", "WeightAverages"]


class WeightAverages:
    """average = decay * average + (1 - decay) * weight, after every step.

    Args:
        strategy: in whose scope the averages are made, beside the weights.
        variables: the weights.
        decay: between 0 and 1.
    """

    def __init__(self, strategy: tf.distribute.Strategy, variables: list[Any], decay: float) -> None:
        self._decay = decay
        with strategy.scope():
            averages = [tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False, name="average") for v in variables]
        self._keep(strategy, variables, averages)
        self.copy()

    def _keep(self, strategy: tf.distribute.Strategy, variables: list[Any], averages: list[Any]) -> None:
        self._strategy, self._variables, self.averages = strategy, variables, averages
        self._swap = tf.function(self._swapped, autograph=False)

    def copy(self) -> None:
        """Makes the averages equal to the weights, as at the start of a run."""
        for average, variable in zip(self.averages, self._variables):
            self._strategy.extended.update(average, lambda a, v: a.assign(v), args=(variable,))

    def update(self) -> None:
        """Takes the weights of this step in. Called in cross-replica context inside the compiled loop."""
        for average, variable in zip(self.averages, self._variables):
            keep = tf.cast(self._decay, average.dtype)
            self._strategy.extended.update(
                average, lambda a, v, k=keep: a.assign(a * k + tf.cast(v, a.dtype) * (1 - k)), args=(variable,)
            )

    @contextlib.contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """The model has the averages as its weights within the context, bit for bit the old ones after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swapped(self) -> None:
        def swap(average: Any, variable: Any) -> Any:
            old = tf.identity(variable)
            with tf.control_dependencies([old]):
                kept = tf.identity(average)
            with tf.control_dependencies([kept]):
                variable.assign(kept)
                average.assign(old)

        for average, variable in zip(self.averages, self._variables):
            self._strategy.extended.update(average, swap, args=(variable,))


class OptimizerAverages(WeightAverages):
    """The averages that a Keras optimizer with `use_ema=True` makes itself, put to the same use as our own.

    Keras's `fit` puts them in the place of the weights at its end; `Trainer.fit`, evaluation and export do.

    Args:
        strategy: where the variables are.
        variables: the weights.
        averages: the optimizer's variables, in the same order.
    """

    def __init__(self, strategy: tf.distribute.Strategy, variables: list[Any], averages: list[Any]) -> None:
        self._keep(strategy, variables, averages)

    def update(self) -> None:
        """Does nothing: the optimizer has done it."""
