"""Keras 3 models on TensorFlow.

Keras's own distributed step clips gradients before they are summed over replicas and sums them one optimizer call
later; here the loop sums (together with the loss, packed) and clips, and the optimizer is told not to sum again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.data.targets import rows_where
from trainers.models.adapters.base import ModelAdapter
from trainers.models.inputs import model_inputs, takes_argument

__all__ = ["Keras3Adapter"]


class Keras3Adapter(ModelAdapter):
    """A compiled `keras.Model`."""

    def __init__(self, model: keras.Model) -> None:
        if not model.compiled or model.optimizer is None:
            raise ConfigError("build_model returned a model that is not compiled: call model.compile(optimizer, loss)")
        self.model = model
        self.optimizer = model.optimizer
        self._inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if self._inner.gradient_accumulation_steps:
            raise ConfigError("optimizer.gradient_accumulation_steps: use accumulate_steps of the TrainerConfig")
        if keras.backend.backend() != "tensorflow":
            raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()!r}: training here needs 'tensorflow'")
        self._inner._all_reduce_sum_gradients = list
        self._loss_takes_training = takes_argument(model.compute_loss, "training")

    def set_learning_rate(self, schedule: Any) -> None:
        class Schedule(keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step):
                return schedule(tf.cast(step, tf.float32))

            def get_config(self):
                return {}

        self._inner.learning_rate = Schedule()

    def prepare(self, features: Mapping[str, Any], labels: Any, weights: Any) -> None:
        self._build(model_inputs(self.model, features), labels, weights)
        if not self.optimizer.built:
            self.optimizer.build(self.model.trainable_variables)
        self._metrics = [m for m in self.model.metrics if m is not self.model._loss_tracker]

    def _build(self, inputs: Any, labels: Any, weights: Any) -> None:
        if any(isinstance(part, tf.SparseTensor | tf.RaggedTensor) for part in tf.nest.flatten(inputs)):
            # Keras builds with symbolic tensors, which many a `call` cannot take in the place of sparse or ragged ones.
            predictions = self._forward(inputs, False)
            if self.model._compile_loss is not None and labels is not None:
                self.model._compile_loss.build(labels, predictions)
            if self.model._compile_metrics is not None and labels is not None:
                self.model._compile_metrics.build(labels, predictions)
            return
        self.model._symbolic_build(data_batch=(inputs, labels, weights))

    def _forward(self, inputs: Any, training: bool) -> Any:
        if getattr(self.model, "_call_has_training_arg", True):
            return self.model(inputs, training=training)
        return self.model(inputs)

    def loss(self, features: Any, labels: Any, weights: Any, update_metrics: bool) -> Any:
        inputs = model_inputs(self.model, features)
        predictions = self._forward(inputs, True)
        loss = self._compute_loss(inputs, labels, predictions, weights, True)
        if update_metrics and self._metrics:
            self.model.compute_metrics(inputs, labels, predictions, sample_weight=weights)
        return loss

    def _compute_loss(self, inputs: Any, labels: Any, predictions: Any, weights: Any, training: bool) -> Any:
        # Models that were written before Keras 3.7 do not know `training`.
        # https://github.com/keras-team/keras/blob/v3.7.0/keras/src/trainers/trainer.py
        extra = {"training": training} if self._loss_takes_training else {}
        return self.model.compute_loss(x=inputs, y=labels, y_pred=predictions, sample_weight=weights, **extra)

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

    def evaluate(self, features: Any, labels: Any, weights: Any, mask: Any) -> tuple[Any, Any]:
        inputs = model_inputs(self.model, features)
        predictions = self._forward(inputs, False)
        replicas = float(tf.distribute.get_strategy().num_replicas_in_sync)
        loss = self._compute_loss(inputs, labels, predictions, weights, False)
        loss = tf.cast(loss, tf.float32) * replicas
        penalty = (
            tf.add_n([tf.cast(p, tf.float32) for p in self.model.losses]) if self.model.losses else tf.constant(0.0)
        )
        size = tf.cast(tf.shape(tf.nest.flatten(predictions)[0])[0], tf.float32)
        if self._metrics:
            labels, predictions, weights = rows_where(mask, (labels, predictions, weights))
            self.model.compute_metrics(inputs, labels, predictions, sample_weight=weights)
        return (loss - penalty) * size, penalty

    @property
    def trainable(self) -> list[Any]:
        return [v.value for v in self.model.trainable_variables]

    @property
    def named_variables(self) -> dict[str, list[tuple[str, Any]]]:
        return {
            "model": [(v.path, v.value) for v in self.model.variables],
            "optimizer": [(v.path, v.value) for v in self.optimizer.variables],
        }

    @property
    def statistics(self) -> list[Any]:
        return [v.value for v in self.model.non_trainable_variables if v.value.dtype.is_floating]

    @property
    def metric_variables(self) -> list[Any]:
        return [v.value for m in self._metrics for v in m.variables]

    def metric_results(self, values: Sequence[Any]) -> dict[str, float]:
        results: dict[str, float] = {}
        at = 0
        for metric in self._metrics:
            count = len(metric.variables)
            result = metric.stateless_result([tf.convert_to_tensor(v) for v in values[at : at + count]])
            at += count
            results.update(_flat(metric.name, result))
        return results

    def reset_metrics(self) -> None:
        for metric in self._metrics:
            metric.reset_state()

    @property
    def iterations(self) -> Any:
        return self.optimizer.iterations.value

    @property
    def learning_rate(self) -> float:
        return float(tf.convert_to_tensor(self._inner.learning_rate))


def _times(gradient: Any, factor: Any) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(_times(gradient.values, factor), gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(factor, gradient.dtype)


def _flat(name: str, result: Any) -> dict[str, float]:
    import numpy as np

    if isinstance(result, dict):
        return {key: value for k, v in result.items() for key, value in _flat(k, v).items()}
    array = np.asarray(result)
    return {name: float(array)} if array.ndim == 0 else {f"{name}_{i}": float(v) for i, v in enumerate(array.ravel())}
