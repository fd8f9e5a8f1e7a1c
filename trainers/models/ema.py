"""Exponential moving averages of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

__all__ = ["WeightAverages"]


class WeightAverages:
    """average = decay * average + (1 - decay) * weight, after every step.

    Args:
        strategy: in whose scope the averages are made, beside the weights.
        variables: the weights.
        decay: between 0 and 1.
    """

    def __init__(self, strategy: tf.distribute.Strategy, variables: list[Any], decay: float) -> None:
        self._strategy, self._variables, self._decay = strategy, variables, decay
        with strategy.scope():
            self.averages = [
                tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False, name="average") for v in variables
            ]
        self._swap = tf.function(self._swapped, autograph=False)
        self.copy()

    def copy(self) -> None:
        """Makes the averages equal to the weights, as at the start of a training."""
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
        def swap(average, variable):
            old = tf.identity(variable)
            with tf.control_dependencies([old]):
                kept = tf.identity(average)
            with tf.control_dependencies([kept]):
                variable.assign(kept)
                average.assign(old)

        for average, variable in zip(self.averages, self._variables):
            self._strategy.extended.update(average, swap, args=(variable,))
