"""tf_keras (Keras 2) models."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from engine.core.errors import ConfigError
from trainers.compat import tf_keras as inside
from trainers.models.adapters.keras_base import KerasAdapter, flat_result, is_reported
from trainers.models.adapters.optimizers import Keras2Optimizer
from trainers.models.adapters.own_steps import OwnSteps, overrides
from trainers.models.inputs import model_inputs
from trainers.models.variables import named_variables

__all__ = ["Keras2Adapter"]

_AGGREGATIONS = {
    tf.VariableAggregation.MEAN: "mean",
    tf.VariableAggregation.ONLY_FIRST_REPLICA: "only_first_replica",
}


class Keras2Adapter(KerasAdapter):
    """A compiled `tf_keras.Model`."""

    def __init__(self, model: Any) -> None:
        if getattr(model, "optimizer", None) is None or model.compiled_loss is None:
            raise ConfigError(
                f"build_model returned a {type(model).__name__} that is not compiled: call model.compile(optimizer, loss)"
            )
        super().__init__(model, tf_keras)
        self._own_metrics = overrides(model, tf_keras.Model, "compute_metrics")
        self._set_optimizer(model.optimizer)

    def _set_optimizer(self, optimizer: Any) -> None:
        self.optimizer, self._stepper = optimizer, Keras2Optimizer(optimizer)
        self._optimizers = [optimizer]

    def prepare(self, features: Mapping[str, Any], labels: Any, weights: Any) -> None:
        inputs = model_inputs(self.model, features)
        if self.own_train_step:
            self._prepare_own_step((inputs, labels, weights))
        else:
            inside.build_loss_and_metrics(self.model, inputs, labels, self._beside)
            self._stepper.build(self.model.trainable_variables)
        own_steps = self.own_train_step or self.evaluates_itself
        compiled, of_layers = self.model.compiled_metrics, inside.layer_metrics_of(self.model)
        of_outputs = self.model.compiled_loss.metrics[1:]  # the mean loss of each, where there are several
        ours = [*of_outputs, *(compiled.metrics if compiled is not None else ()), *of_layers]
        self._metrics = list(self.model.metrics if own_steps else ours)
        self._metrics_of_layers = bool(of_layers)
        self._note_updates()
        self._results, self._inside = [(metric, metric.result) for metric in self.model.metrics], 0
        for metric in of_layers:
            metric.reset_state()  # the batch of zeros counted
        self._look_at_losses(inside.losses_of(self.model), (inputs, labels, weights), bool(of_outputs))

    def _prepare_own_step(self, batch: tuple[Any, Any, Any]) -> None:
        kinds = (tf_keras.optimizers.Optimizer, tf_keras.optimizers.legacy.Optimizer)
        self._steps = OwnSteps(self.model, kinds)
        if overrides(self.model, tf_keras.Model, "call"):
            self.model(batch[0], training=False)
        used = self._steps.discover(tf_keras.utils.pack_x_y_sample_weight(*batch))
        for optimizer, variables in reversed(used):
            self._set_optimizer(optimizer)
            self._stepper.build(variables)
            # A legacy optimizer has no such method; it sums over the replicas by itself.
            optimizer.aggregate_gradients = self._steps.aggregate
        self._optimizers = [optimizer for optimizer, _ in used]
        # A step may have no use for them, and the evaluation has; of what cannot be called there is none.
        called = overrides(self.model, tf_keras.Model, "call") or inside.input_structure(self.model) is not None
        if called and not self.own_test_step:
            inside.build_loss_and_metrics(self.model, *batch[:2], self._beside)

    def _forward(self, inputs: Any, training: bool) -> Any:
        return self.model(inputs, training=training)

    def _model_loss(self, inputs: Any, labels: Any, predictions: Any, weights: Any, training: bool) -> Any:
        return self.model.compute_loss(inputs, labels, predictions, weights)

    def _outputs_with_loss(self, predictions: Any) -> list[Any]:
        return inside.outputs_with_loss(self.model, predictions)

    def _has_losses_of_rows(self) -> bool:
        return inside.adds_losses_of_rows(self.model)

    def _update_metrics(self, inputs: Any, labels: Any, predictions: Any, weights: Any) -> None:
        if self._own_metrics:
            with self._results_of_this_replica():
                self.model.compute_metrics(inputs, labels, predictions, weights)
        else:
            self.model.compiled_metrics.update_state(labels, predictions, weights)

    @contextlib.contextmanager
    def _results_of_this_replica(self) -> Iterator[None]:
        """Metrics give the results of this replica alone, which nobody reads: to sum them at each step needs all replicas at one point."""
        self._inside += 1
        for metric, result in self._results:
            metric.result = getattr(result, "__wrapped__", result)
        try:
            yield
        finally:
            self._inside -= 1  # replicas take turns where one assigns a variable: another may still be inside
            if not self._inside:
                for metric, result in self._results:
                    metric.result = result

    @property
    def trainable(self) -> list[Any]:
        return list(self.model.trainable_variables)

    @property
    def named_variables(self) -> dict[str, list[tuple[str, Any]]]:
        optimizer = [v for one in self._optimizers for v in Keras2Optimizer(one).variables]
        return {
            "model": named_variables(self.model),
            "optimizer": [(v.name, v) for v in optimizer],
            **self._variables_of_losses(),
        }

    @property
    def statistics(self) -> list[Any]:
        found = [v for v in self.model.non_trainable_variables if isinstance(v, tf.Variable)]
        return [v for v in found if v.dtype.is_floating]

    @property
    def metric_variables(self) -> list[Any]:
        return [v for m in self._metrics for v in m.variables]

    @property
    def metric_aggregations(self) -> list[str]:
        return [_AGGREGATIONS.get(v.aggregation, "sum") for v in self.metric_variables]

    def metric_results(self, values: Sequence[Any], idle: Collection[int] | None = None) -> dict[str, float]:
        results: dict[str, float] = {}
        at = 0
        for metric in self._metrics:
            state = values[at : at + len(metric.variables)]
            at += len(state)
            if not inside.is_idle_loss_tracker(self.model, metric, state) and is_reported(metric, state, idle):
                results.update(flat_result(metric.name, _result_of(metric, state)))
        return results

    @property
    def iterations(self) -> Any:
        return self.optimizer.iterations


def _result_of(metric: Any, values: Sequence[Any]) -> Any:
    """Returns the result of a metric whose variables have these values, from a copy; of one that is on one replica, itself."""
    try:
        copy = type(metric).from_config(metric.get_config())
    except TypeError as error:
        copy, why = metric, f"give it get_config() ({error})"
    else:
        if len(copy.variables) != len(values):
            copy, why = metric, "its variables are not made by its configuration"
    if copy is not metric:
        return _with_values(copy, values)
    if any(isinstance(v, tf.distribute.DistributedValues) for v in metric.variables):
        raise ConfigError(f"metric {metric.name!r} cannot be rebuilt on several replicas: {why}")
    before = [tf.identity(v) for v in metric.variables]
    result = _with_values(metric, values)
    for variable, value in zip(metric.variables, before):
        variable.assign(value)
    return result


def _with_values(metric: Any, values: Sequence[Any]) -> Any:
    for variable, value in zip(metric.variables, values):
        variable.assign(value)
    return tf.nest.map_structure(np.asarray, metric.result())
