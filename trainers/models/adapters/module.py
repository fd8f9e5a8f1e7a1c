"""A plain tf.Module with a loss of its own.

The module has `optimizer` (a Keras optimizer, either generation) and `compute_loss(features, labels, weights, training)`
which returns the mean loss of the given examples. It may have `compute_metrics(features, labels, weights)`, which
returns name to (sum, count): the metric is the quotient of their sums over all examples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.compat.keras import tf_variable
from trainers.data.targets import row_count, rows_where
from trainers.models.adapters.base import ModelAdapter
from trainers.models.adapters.optimizers import optimizer_of
from trainers.models.variables import constraints_of, named_variables

__all__ = ["ModuleAdapter"]


class ModuleAdapter(ModelAdapter):
    """A `tf.Module` with `optimizer` and `compute_loss`."""

    def __init__(self, model: tf.Module) -> None:
        for name in ("optimizer", "compute_loss"):
            if not hasattr(model, name):
                raise ConfigError(f"build_model returned a tf.Module without `{name}`: see docs/training.md")
        self.model, self.optimizer = model, model.optimizer
        self._stepper = optimizer_of(model.optimizer)

    def set_learning_rate(self, schedule: Any) -> None:
        raise ConfigError("learning_rate: give the schedule to the optimizer of the tf.Module itself")

    def prepare(self, features: Mapping[str, Any], labels: Any, weights: Any) -> None:
        # Variables that are made at the first call are made here, in the scope of the strategy.
        self.model.compute_loss(features, labels, weights, training=False)
        self._stepper.build(self.trainable)
        self._constraints = constraints_of(self.model)
        self._names: list[str] = []
        if hasattr(self.model, "compute_metrics"):
            self._names = sorted(self.model.compute_metrics(features, labels, weights))
        read = {"synchronization": tf.VariableSynchronization.ON_READ, "aggregation": tf.VariableAggregation.SUM}
        self._sums = [tf.Variable(tf.zeros([2]), trainable=False, name=name, **read) for name in self._names]

    def _count(self, features: Any, labels: Any, weights: Any) -> None:
        if self._names:
            values = self.model.compute_metrics(features, labels, weights)
            for name, variable in zip(self._names, self._sums):
                variable.assign_add(tf.stack([tf.cast(part, tf.float32) for part in values[name]]))

    def loss(self, features: Any, labels: Any, weights: Any, update_metrics: bool) -> Any:
        loss = self.model.compute_loss(features, labels, weights, training=True)
        if update_metrics:
            self._count(features, labels, weights)
        return loss / float(tf.distribute.get_strategy().num_replicas_in_sync)

    def apply(self, gradients: Sequence[Any]) -> None:
        self._stepper.apply(gradients, self.trainable)
        if self._constraints:
            tf.distribute.get_replica_context().merge_call(self._constrain)

    def _constrain(self, strategy: tf.distribute.Strategy) -> None:
        for variable, constraint in self._constraints:
            strategy.extended.update(variable, lambda v, allowed=constraint: v.assign(allowed(v)))

    def evaluate(
        self, features: Any, labels: Any, weights: Any, mask: Any, weighted: bool = True
    ) -> tuple[Any, Any, Any]:
        features, labels, weights = rows_where(mask, (features, labels, weights))
        size = tf.cast(row_count(tf.nest.flatten((features, labels))[0]), tf.float32)
        loss = tf.cast(self.model.compute_loss(features, labels, weights, training=False), tf.float32)
        self._count(features, labels, weights)
        return loss, size, tf.constant(0.0)

    @property
    def trainable(self) -> list[Any]:
        return [v for _, v in named_variables(self.model, trained=True)]

    @property
    def named_variables(self) -> dict[str, list[tuple[str, Any]]]:
        return {
            "model": named_variables(self.model),
            "optimizer": [(v.name, v) for v in self._stepper.variables],
        }

    @property
    def statistics(self) -> list[Any]:
        trained = {id(v) for v in self.trainable}
        return [v for _, v in named_variables(self.model) if id(v) not in trained and v.dtype.is_floating]

    @property
    def metric_variables(self) -> list[Any]:
        return list(self._sums)

    def metric_results(self, values: Sequence[Any], idle: Collection[int] | None = None) -> dict[str, float]:
        return {name: float(total / max(count, 1e-12)) for name, (total, count) in zip(self._names, values)}

    def reset_metrics(self) -> None:
        for variable in self._sums:
            variable.assign(tf.zeros([2]))

    @property
    def iterations(self) -> Any:
        return tf_variable(self.optimizer.iterations)
