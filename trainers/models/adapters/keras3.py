"""Keras 3 models on TensorFlow.

Keras's own distributed step clips gradients before they are summed over replicas and sums them one optimizer call
later; here the loop sums (together with the loss, packed) and clips, and the optimizer is set not to sum again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.compat import keras as inside
from trainers.compat.keras import tf_variable
from trainers.models.adapters.keras_base import KerasAdapter, flat_result, is_reported
from trainers.models.adapters.loss_reduction import returning_a_vector
from trainers.models.adapters.optimizers import Keras3Optimizer
from trainers.models.adapters.own_steps import OwnSteps, overrides
from trainers.models.inputs import model_inputs
from trainers.models.variables import named_variables

__all__ = ["Keras3Adapter"]


class Keras3Adapter(KerasAdapter):
    """A compiled `keras.Model`."""

    def __init__(self, model: keras.Model) -> None:
        if not model.compiled or model.optimizer is None:
            raise ConfigError(
                f"build_model returned a {type(model).__name__} that is not compiled: call model.compile(optimizer, loss)"
            )
        if keras.backend.backend() != "tensorflow":
            raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()!r}: training here needs 'tensorflow'")
        super().__init__(model, keras)
        self._set_optimizer(model.optimizer)

    def _set_optimizer(self, optimizer: Any) -> None:
        self.optimizer, self._stepper = optimizer, Keras3Optimizer(optimizer)
        self._optimizers = [optimizer]
        steps = self._stepper.inner.gradient_accumulation_steps
        if steps:
            raise ConfigError(
                f"optimizer.gradient_accumulation_steps={steps}: use accumulate_steps of the TrainerConfig"
            )

    def prepare(self, features: Mapping[str, Any], labels: Any, weights: Any) -> None:
        inputs = model_inputs(self.model, features)
        if self.own_train_step:
            self._prepare_own_step((inputs, labels, weights))
        else:
            inside.build_from_batch(self.model, (inputs, labels, weights), self._beside)
            self._stepper.build(self.model.trainable_variables)
        self._metrics = inside.trackers_of(self.model, self.own_train_step or self.evaluates_itself)
        of_layers = inside.layer_metrics_of(self.model)
        self._metrics_of_layers = bool(of_layers)
        for metric in of_layers:
            metric.reset_state()  # the batch of zeros counted, where the model was called with it
        self._note_updates()
        losses = inside.losses_of(self.model)
        whole = self._look_at_losses(losses, (inputs, labels, weights), means_of_outputs=len(losses) > 1)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            for loss in whole:
                loss.call = returning_a_vector(loss.call)

    def _prepare_own_step(self, batch: tuple[Any, Any, Any]) -> None:
        if overrides(self.model, keras.Model, "call") or inside.input_structure(self.model) is not None:
            inside.build_from_batch(self.model, batch, self._beside)
        self._steps = OwnSteps(self.model, keras.optimizers.Optimizer)
        used = self._steps.discover(keras.utils.pack_x_y_sample_weight(*batch))
        for optimizer, variables in reversed(used):
            self._set_optimizer(optimizer)
            self._stepper.build(variables)
            inside.aggregate_gradients_with(self._stepper.inner, self._steps.aggregate)
        self._optimizers = [optimizer for optimizer, _ in used]

    def _forward(self, inputs: Any, training: bool) -> Any:
        if inside.takes_training(self.model):
            return self.model(inputs, training=training)
        return self.model(inputs)

    def _model_loss(self, inputs: Any, labels: Any, predictions: Any, weights: Any, training: bool) -> Any:
        return inside.compute_loss(self.model, inputs, labels, predictions, weights, training=training)

    def _outputs_with_loss(self, predictions: Any) -> list[Any]:
        return inside.outputs_with_loss(self.model, predictions)

    def _has_losses_of_rows(self) -> bool:
        # Of weights there is one for each that has a regularizer; whatever is more was added in a call.
        return len(self.model.losses) > sum(v.regularizer is not None for v in self.model.trainable_weights)

    def _update_metrics(self, inputs: Any, labels: Any, predictions: Any, weights: Any) -> None:
        if self._metrics:
            self.model.compute_metrics(inputs, labels, predictions, sample_weight=weights)

    @property
    def trainable(self) -> list[Any]:
        return [tf_variable(v) for v in self.model.trainable_variables]

    @property
    def named_variables(self) -> dict[str, list[tuple[str, Any]]]:
        return {
            "model": named_variables(self.model),
            "optimizer": [
                (v.path, tf_variable(v)) for one in self._optimizers for v in inside.optimizer_variables(one)
            ],
            **self._variables_of_losses(),
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

    def metric_results(self, values: Sequence[Any], idle: Collection[int] | None = None) -> dict[str, float]:
        results: dict[str, float] = {}
        at = 0
        for metric in self._metrics:
            state = [tf.convert_to_tensor(v) for v in values[at : at + len(metric.variables)]]
            at += len(state)
            if inside.is_idle_loss_tracker(self.model, metric, state) or not is_reported(metric, state, idle):
                continue
            # A result may be the variable itself: outside of the scope it would be read as what is on this replica.
            with keras.StatelessScope(state_mapping=list(zip(metric.variables, state))):
                result = tf.nest.map_structure(lambda part: np.asarray(tf.convert_to_tensor(part)), metric.result())
            results.update(flat_result(metric.name, result))
        return results

    @property
    def iterations(self) -> Any:
        return tf_variable(self.optimizer.iterations)
