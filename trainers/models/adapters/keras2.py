"""tf_keras (Keras 2) models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from engine.core.errors import ConfigError
from trainers.data.targets import rows_where
from trainers.models.adapters.base import ModelAdapter
from trainers.models.inputs import model_inputs

__all__ = ["Keras2Adapter"]


class Keras2Adapter(ModelAdapter):
    """A compiled `tf_keras.Model`."""

    def __init__(self, model: Any) -> None:
        if getattr(model, "optimizer", None) is None or model.compiled_loss is None:
            raise ConfigError("build_model returned a model that is not compiled: call model.compile(optimizer, loss)")
        self.model, self.optimizer = model, model.optimizer
        self._scaled = hasattr(self.optimizer, "get_scaled_loss")
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        self._inner = inner
        self._legacy = not hasattr(inner, "update_step")

    def set_learning_rate(self, schedule: Any) -> None:
        class Schedule(tf_keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step):
                return schedule(tf.cast(step, tf.float32))

            def get_config(self):
                return {}

        self._inner.learning_rate = Schedule()

    def prepare(self, features: Mapping[str, Any], labels: Any, weights: Any) -> None:
        predictions = self.model(model_inputs(self.model, features), training=False)
        self.model.compiled_loss.build(predictions)
        if self.model.compiled_metrics is not None and labels is not None:
            self.model.compiled_metrics.build(predictions, labels)
        if self._legacy:
            self._inner.iterations  # noqa: B018 - makes the variable
            self._inner._create_all_weights(self.model.trainable_variables)
        else:
            self.optimizer.build(self.model.trainable_variables)

    def loss(self, features: Any, labels: Any, weights: Any, update_metrics: bool) -> Any:
        inputs = model_inputs(self.model, features)
        predictions = self.model(inputs, training=True)
        loss = self.model.compute_loss(inputs, labels, predictions, weights)
        if update_metrics:
            self.model.compiled_metrics.update_state(labels, predictions, weights)
        return loss

    def scale_loss(self, loss: Any) -> Any:
        return self.optimizer.get_scaled_loss(loss) if self._scaled else loss

    def unscaled(self, gradients: Sequence[Any]) -> list[Any]:
        return list(self.optimizer.get_unscaled_gradients(gradients)) if self._scaled else list(gradients)

    def apply(self, gradients: Sequence[Any]) -> None:
        pairs = [(g, v) for g, v in zip(gradients, self.model.trainable_variables) if g is not None]
        if self._legacy:
            self.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)
        else:
            self.optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)

    def evaluate(self, features: Any, labels: Any, weights: Any, mask: Any) -> tuple[Any, Any]:
        inputs = model_inputs(self.model, features)
        predictions = self.model(inputs, training=False)
        replicas = float(tf.distribute.get_strategy().num_replicas_in_sync)
        loss = tf.cast(self.model.compute_loss(inputs, labels, predictions, weights), tf.float32) * replicas
        penalty = (
            tf.add_n([tf.cast(p, tf.float32) for p in self.model.losses]) if self.model.losses else tf.constant(0.0)
        )
        size = tf.cast(tf.shape(tf.nest.flatten(predictions)[0])[0], tf.float32)
        labels, predictions, weights = rows_where(mask, (labels, predictions, weights))
        self.model.compiled_metrics.update_state(labels, predictions, weights)
        return (loss - penalty) * size, penalty

    @property
    def trainable(self) -> list[Any]:
        return list(self.model.trainable_variables)

    @property
    def named_variables(self) -> dict[str, list[tuple[str, Any]]]:
        found = self.optimizer.variables
        optimizer = found() if callable(found) else found
        return {
            "model": [(v.name, v) for v in self.model.variables],
            "optimizer": [(v.name, v) for v in optimizer],
        }

    @property
    def statistics(self) -> list[Any]:
        return [v for v in self.model.non_trainable_variables if v.dtype.is_floating]

    @property
    def metric_variables(self) -> list[Any]:
        return [v for m in self._metrics for v in m.variables]

    @property
    def _metrics(self) -> list[Any]:
        return list(self.model.compiled_metrics.metrics) if self.model.compiled_metrics is not None else []

    def metric_results(self, values: Sequence[Any]) -> dict[str, float]:
        results, at = {}, 0
        for metric in self._metrics:
            count = len(metric.variables)
            copy = type(metric).from_config(metric.get_config())
            if len(copy.variables) != count:
                raise ConfigError(
                    f"metric {metric.name!r} cannot be rebuilt from its configuration, use a plain metric"
                )
            for variable, value in zip(copy.variables, values[at : at + count]):
                variable.assign(value)
            results[metric.name] = float(copy.result())
            at += count
        return results

    def reset_metrics(self) -> None:
        for metric in self._metrics:
            metric.reset_state()

    @property
    def iterations(self) -> Any:
        return self.optimizer.iterations

    @property
    def learning_rate(self) -> float:
        rate = self._inner.learning_rate
        return float(rate(self.optimizer.iterations) if callable(rate) else tf.convert_to_tensor(rate))
