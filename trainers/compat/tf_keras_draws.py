"""Random numbers of tf_keras layers (dropout, noise, augmentation) by the number of the step, while a model is trained.

Their generators keep their state in operations of the graph, or in variables that no model lists: a run that goes on would draw what it
drew at its beginning. Drawn by seed, step, replica and place in the graph they are the same after a restart, and need no state.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.src.backend import RandomGenerator

from trainers.compat.require import require, require_assigned

__all__ = ["StepDraws"]

_USE = ">=2.21,<2.22"
_here = ("tf-keras", tf_keras.__version__)
_DRAWS = ("random_normal", "random_uniform", "truncated_normal", "dropout")
require(*_here, RandomGenerator, *_DRAWS, "RNG_STATELESS", "make_seed_for_stateless_op", "_maybe_init", use=_USE)
require_assigned(*_here, RandomGenerator, "_rng_type", "_seed", use=_USE)
require_assigned(*_here, tf_keras.layers.Dropout, "_random_generator", use=_USE)


class StepDraws:
    """Makes the generators of a model's layers draw by the number of the step, until `release`.

    Args:
        model: of tf_keras, or a tf.Module with layers of it.
        strategy: in whose scope the number is kept.
        seed: for layers that have none of their own.
        step: steps made so far.
    """

    def __init__(self, model: tf.Module, strategy: tf.distribute.Strategy, seed: int, step: int) -> None:
        found = (getattr(part, "_random_generator", None) for part in (model, *model.submodules))
        every = {id(each): each for each in found if isinstance(each, RandomGenerator)}.values()
        # One that is stateless was asked to draw the same each time.
        self._generators = [each for each in every if each._rng_type != RandomGenerator.RNG_STATELESS]
        if not self._generators:
            return
        with strategy.scope():
            self._step = tf.Variable(step, dtype=tf.int64, trainable=False, name="steps_drawn")
        for number, generator in enumerate(self._generators):
            self._replace(generator, tf.constant([generator._seed or seed, number], tf.int64))

    def count(self) -> None:
        """Goes on to the next step. Called in cross-replica context inside the compiled loop."""
        if self._generators:
            self._step.assign_add(1)

    def release(self) -> None:
        """Lets the generators draw as tf_keras does."""
        for generator in self._generators:
            for name in (*_DRAWS, "make_seed_for_stateless_op", "steps_drawn"):
                delattr(generator, name)
        self._generators = []

    def _replace(self, generator: Any, base: Any) -> None:
        # In each graph the draws are numbered: a layer may be called more than once, and a graph traced again.
        drawn: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

        def seed() -> Any:
            graph = tf.compat.v1.get_default_graph()
            drawn[graph] = drawn.get(graph, 0) + 1
            replica = tf.distribute.get_replica_context()
            place = replica.replica_id_in_sync_group if replica is not None else 0
            made = tf.random.experimental.stateless_fold_in(base, self._step.read_value())
            return tf.random.experimental.stateless_fold_in(made, tf.cast(place, tf.int64) * 2**20 + drawn[graph])

        generator.steps_drawn = self._step  # where a SavedModel that a callback writes finds it
        for name in _DRAWS:
            setattr(generator, name, _stateless(generator, getattr(generator, name)))
        generator.make_seed_for_stateless_op = seed


def _stateless(generator: Any, draw: Callable[..., Any]) -> Callable[..., Any]:
    def drawn(*args: Any, **options: Any) -> Any:
        generator._maybe_init()
        kind, generator._rng_type = generator._rng_type, generator.RNG_STATELESS
        try:
            return draw(*args, **options)
        finally:
            generator._rng_type = kind

    return drawn
