"""Keras 3 models on TensorFlow.

Keras's own distributed step clips gradients before they are summed over replicas and sums them one optimizer call
later; here the loop sums (together with the loss, packed) and clips, and the optimizer is set not to sum again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.compat import keras as inside
from trainers.compat.keras import tf_variable
from trainers.data.targets import row_count, rows_where
from trainers.models.adapters.base import ModelAdapter
from trainers.models.adapters.loss_reduction import is_divided_by_replicas, reduction_of
from trainers.models.adapters.own_steps import OwnSteps, overrides
from trainers.models.inputs import model_inputs

__all__ = ["Keras3Adapter"]


class Keras3Adapter(ModelAdapter):
    """A compiled `keras.Model`."""

    def __init__(self, model: keras.Model) -> None:
        if not model.compiled or model.optimizer is None:
            raise ConfigError("build_model returned a model that is not compiled: call model.compile(optimizer, loss)")
        if keras.backend.backend() != "tensorflow":
            raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()!r}: training here needs 'tensorflow'")
        self.model = model
        self.own_train_step = overrides(model, keras.Model, "train_step")
        self.own_test_step = overrides(model, keras.Model, "test_step")
        self._own_loss = overrides(model, keras.Model, "compute_loss")
        self._divides = False  # by the number of replicas, since the user's own loss does not
        self._set_optimizer(model.optimizer)

    def _set_optimizer(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self._optimizers = [optimizer]
        self._inner = getattr(optimizer, "inner_optimizer", optimizer)
        if self._inner.gradient_accumulation_steps:
            raise ConfigError("optimizer.gradient_accumulation_steps: use accumulate_steps of the TrainerConfig")
        inside.aggregate_gradients_with(self._inner, list)

    def set_learning_rate(self, schedule: Any) -> None:
        class Schedule(keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step: Any) -> Any:
                return schedule(tf.cast(step, tf.float32))

            def get_config(self) -> dict[str, Any]:
                return {}

        self._inner.learning_rate = Schedule()

    def prepare(self, features: Mapping[str, Any], labels: Any, weights: Any) -> None:
        inputs = model_inputs(self.model, features)
        if self.own_train_step:
            self._prepare_own_step((inputs, labels, weights))
        else:
            inside.build_from_batch(self.model, (inputs, labels, weights))
            if not self.optimizer.built:
                self.optimizer.build(self.model.trainable_variables)
        self._metrics = inside.trackers_of(self.model, self.own_train_step or self.own_test_step)
        self.reduction = "mean" if self._own_loss else reduction_of(inside.losses_of(self.model))

    def _prepare_own_step(self, batch: tuple[Any, Any, Any]) -> None:
        if overrides(self.model, keras.Model, "call") or inside.input_structure(self.model) is not None:
            inside.build_from_batch(self.model, batch)
        self._steps = OwnSteps(self.model, keras.optimizers.Optimizer)
        used = self._steps.discover(keras.utils.pack_x_y_sample_weight(*batch))
        for optimizer, variables in reversed(used):
            if not optimizer.built:
                optimizer.build(variables)
            self._set_optimizer(optimizer)
            inside.aggregate_gradients_with(self._inner, self._steps.aggregate)
        self._optimizers = [optimizer for optimizer, _ in used]

    def _forward(self, inputs: Any, training: bool) -> Any:
        if inside.takes_training(self.model):
            return self.model(inputs, training=training)
        return self.model(inputs)

    def loss(self, features: Any, labels: Any, weights: Any, update_metrics: bool) -> Any:
        inputs = model_inputs(self.model, features)
        predictions = self._forward(inputs, True)
        loss = inside.compute_loss(self.model, inputs, labels, predictions, weights, training=True)
        if update_metrics and self._metrics:
            self.model.compute_metrics(inputs, labels, predictions, sample_weight=weights)
        return loss / _replicas() if self._divides else loss

    def penalty(self) -> Any:
        return self._penalty() / _replicas()

    def _penalty(self) -> Any:
        losses = [] if self._own_loss else self.model.losses
        return tf.add_n([tf.cast(p, tf.float32) for p in losses]) if losses else tf.constant(0.0)

    def fit_scaling(self, strategy: Any, features: Any, labels: Any, weights: Any) -> str | None:
        if not self._own_loss:
            return None
        inputs = model_inputs(self.model, features)
        owner = type(self.model).__name__

        def loss() -> Any:
            predictions = self._forward(inputs, False)
            return inside.compute_loss(self.model, inputs, labels, predictions, weights, training=False)

        if is_divided_by_replicas(strategy, loss, owner):
            return None
        if self.own_train_step:
            raise ConfigError(
                f"compute_loss of {owner} returns a mean that train_step does not divide by the "
                f"{strategy.num_replicas_in_sync} replicas: divide it by tf.distribute.get_strategy().num_replicas_in_sync"
            )
        self._divides = True
        return f"compute_loss of {owner} is the mean of a replica's examples: it is divided by the number of replicas"

    def scale_loss(self, loss: Any) -> Any:
        return self.optimizer.scale_loss(loss)

    def _loss_scale(self) -> Any:
        scaled = self._inner is not self.optimizer or self.optimizer.loss_scale_factor is not None
        return self.optimizer.scale_loss(tf.constant(1.0)) if scaled else None

    def unscaled(self, gradients: Sequence[Any]) -> list[Any]:
        scale = self._loss_scale()
        return list(gradients) if scale is None else [None if g is None else _times(g, 1.0 / scale) for g in gradients]

    def apply(self, gradients: Sequence[Any]) -> None:
        # The optimizer divides by its scale, a power of two: nothing is lost on the way there and back.
        scale = self._loss_scale()
        if scale is not None:
            gradients = [None if g is None else _times(g, scale) for g in gradients]
        self.optimizer.apply(list(gradients), self.model.trainable_variables)

    def train_step(self, features: Any, labels: Any, weights: Any, reduce: Callable[[list[Any]], list[Any]]) -> Any:
        data = keras.utils.pack_x_y_sample_weight(model_inputs(self.model, features), labels, weights)
        return self._steps.train(data, reduce) / _replicas()

    def evaluate(self, features: Any, labels: Any, weights: Any, mask: Any) -> tuple[Any, Any, Any]:
        if self._own_loss or self.own_test_step or self.reduction != "mean":
            # A mean takes padding in with weight 0; anything else must not see it.
            features, labels, weights = rows_where(mask, (features, labels, weights))
            mask = None
        inputs = model_inputs(self.model, features)
        if self.own_test_step:
            logs = self.model.test_step(keras.utils.pack_x_y_sample_weight(inputs, labels, weights))
            return OwnSteps.loss_of(logs), _rows(inputs), tf.constant(0.0)
        predictions = self._forward(inputs, False)
        loss = inside.compute_loss(self.model, inputs, labels, predictions, weights, training=False)
        penalty, size = self._penalty(), _rows(predictions)
        # Keras divides means and penalties by the number of replicas, sums not.
        loss = tf.cast(loss, tf.float32) - penalty / _replicas()
        loss *= 1.0 if self._divides or self.reduction == "sum" else _replicas()
        if self._metrics:
            labels, predictions, weights = rows_where(mask, (labels, predictions, weights))
            self.model.compute_metrics(inputs, labels, predictions, sample_weight=weights)
        return loss, size, penalty

    @property
    def trainable(self) -> list[Any]:
        return [tf_variable(v) for v in self.model.trainable_variables]

    @property
    def averages(self) -> list[Any] | None:
        return inside.average_variables(self._inner)

    @property
    def named_variables(self) -> dict[str, list[tuple[str, Any]]]:
        return {
            "model": [(v.path, tf_variable(v)) for v in self.model.variables],
            "optimizer": [(v.path, tf_variable(v)) for one in self._optimizers for v in one.variables],
        }

    @property
    def statistics(self) -> list[Any]:
        return [tf_variable(v) for v in self.model.non_trainable_variables if tf_variable(v).dtype.is_floating]

    @property
    def metric_variables(self) -> list[Any]:
        return [tf_variable(v) for m in self._metrics for v in m.variables]

    @property
    def metric_aggregations(self) -> list[str]:
        return [v.aggregation for m in self._metrics for v in m.variables]

    def metric_results(self, values: Sequence[Any]) -> dict[str, float]:
        results: dict[str, float] = {}
        at = 0
        for metric in self._metrics:
            state = [tf.convert_to_tensor(v) for v in values[at : at + len(metric.variables)]]
            at += len(state)
            if inside.is_idle_loss_tracker(self.model, metric, state):
                continue
            # A result may be the variable itself: outside of the scope it would be read as what is on this replica.
            with keras.StatelessScope(state_mapping=list(zip(metric.variables, state))):
                result = tf.nest.map_structure(lambda part: np.asarray(tf.convert_to_tensor(part)), metric.result())
            results.update(_flat(metric.name, result))
        return results

    def reset_metrics(self) -> None:
        for metric in self._metrics:
            metric.reset_state()

    @property
    def iterations(self) -> Any:
        return tf_variable(self.optimizer.iterations)

    @property
    def learning_rate(self) -> float:
        return float(tf.convert_to_tensor(self._inner.learning_rate))


def _replicas() -> float:
    return float(tf.distribute.get_strategy().num_replicas_in_sync)


def _rows(nested: Any) -> Any:
    return tf.cast(row_count(tf.nest.flatten(nested)[0]), tf.float32)


def _times(gradient: Any, factor: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_times(gradient.values, factor), gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(factor, gradient.dtype)


def _flat(name: str, result: Any) -> dict[str, float]:
    if isinstance(result, dict):
        return {key: value for k, v in result.items() for key, value in _flat(k, v).items()}
    array = np.asarray(result)
    return {name: float(array)} if array.ndim == 0 else {f"{name}_{i}": float(v) for i, v in enumerate(array.ravel())}
