"""Optimizers of tables: Keras's rules, applied to the rows of a batch alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from engine.core.configs import require

__all__ = ["RowOptimizer", "row_optimizer"]

_EPSILON = 1e-7  # Keras's


class RowOptimizer:
    """Gradient descent. Others add state for each row.

    Attributes:
        slots: name of a state to its first value.
    """

    slots: ClassVar[Mapping[str, float]] = {}

    def apply(self, values: Any, slots: Mapping[str, Any], numbers: Any, gradient: Any, rate: Any, step: Any) -> None:
        """Changes rows `numbers`, each there once, by their gradients [numbers, width]."""
        values.scatter_sub(tf.IndexedSlices(rate * gradient, numbers))


class _Adagrad(RowOptimizer):
    slots: ClassVar[Mapping[str, float]] = {"accumulator": 0.1}

    def apply(self, values: Any, slots: Mapping[str, Any], numbers: Any, gradient: Any, rate: Any, step: Any) -> None:
        squares = tf.gather(slots["accumulator"], numbers) + tf.square(gradient)
        slots["accumulator"].scatter_update(tf.IndexedSlices(squares, numbers))
        values.scatter_sub(tf.IndexedSlices(rate * gradient / tf.sqrt(squares + _EPSILON), numbers))


class _LazyAdam(RowOptimizer):
    """Adam in which a row that the batch lacks keeps its moments, and its place: Keras's own moves all rows at each step."""

    slots: ClassVar[Mapping[str, float]] = {"momentum": 0.0, "velocity": 0.0}
    _beta_1, _beta_2 = 0.9, 0.999

    def apply(self, values: Any, slots: Mapping[str, Any], numbers: Any, gradient: Any, rate: Any, step: Any) -> None:
        momentum, velocity = (tf.gather(slots[name], numbers) for name in self.slots)
        momentum += (gradient - momentum) * (1 - self._beta_1)
        velocity += (tf.square(gradient) - velocity) * (1 - self._beta_2)
        slots["momentum"].scatter_update(tf.IndexedSlices(momentum, numbers))
        slots["velocity"].scatter_update(tf.IndexedSlices(velocity, numbers))
        after = tf.cast(step + 1, tf.float32)
        alpha = rate * tf.sqrt(1 - tf.pow(self._beta_2, after)) / (1 - tf.pow(self._beta_1, after))
        values.scatter_sub(tf.IndexedSlices(alpha * momentum / (tf.sqrt(velocity) + _EPSILON), numbers))


_RULES: dict[str, type[RowOptimizer]] = {"sgd": RowOptimizer, "adagrad": _Adagrad, "adam": _LazyAdam}


def row_optimizer(name: str) -> RowOptimizer:
    """Returns the optimizer of a name.

    Raises:
        ConfigError: there is none of this name.
    """
    require(name in _RULES, "optimizer", name, f"one of {', '.join(_RULES)}")
    return _RULES[name]()
