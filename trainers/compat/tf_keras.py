"""Private names of tf_keras (Keras 2) that training needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.src.engine.compile_utils import MetricsContainer

from trainers.compat.require import require, require_assigned

__all__ = [
    "adds_losses_of_rows",
    "average_variables",
    "build_loss_and_metrics",
    "compute_momentum_product_once",
    "create_weights",
    "input_structure",
    "is_idle_loss_tracker",
    "layer_metrics_of",
    "losses_of",
    "outputs_with_loss",
    "take_compiled_state",
    "unlisted_variables",
]

_USE = ">=2.21,<2.22"
_here = ("tf-keras", tf_keras.__version__)
require(*_here, tf_keras.optimizers.legacy.Optimizer, "_create_all_weights", use=_USE)
require(*_here, tf_keras.layers.Layer, "_flatten_layers", use=_USE)
require(*_here, MetricsContainer, "_conform_to_outputs", use=_USE)
require(*_here, tf_keras.Model, "_get_trainable_state", "_set_trainable_state", use=_USE)
require_assigned(*_here, tf_keras.Model, "_compiled_trainable_state", use=_USE)
require_assigned(*_here, tf_keras.Sequential, "_nested_inputs", use=_USE)
require_assigned(*_here, tf_keras.layers.Layer, "_eager_losses", "_losses", use=_USE)
require_assigned(*_here, tf_keras.optimizers.Optimizer, "_model_variables_moving_average", use=_USE)
require(*_here, tf_keras.optimizers.Nadam, "_internal_apply_gradients", use=_USE)
require_assigned(*_here, tf_keras.optimizers.Nadam, "_u_product", "_u_product_counter", use=_USE)


def input_structure(model: Any) -> Any:
    """Returns the nest of inputs of a functional model, None of a subclassed one."""
    return getattr(model, "_nested_inputs", None)


def create_weights(optimizer: Any, variables: list[Any]) -> None:
    """Makes the variables of a legacy optimizer."""
    optimizer.iterations  # noqa: B018 - makes the variable
    optimizer._create_all_weights(variables)


def _build_metrics(model: Any, predictions: Any, labels: Any) -> None:
    """Makes the compiled metrics of a model; labels by the names of its outputs stand in their order there, as in each update."""
    compiled = model.compiled_metrics
    compiled.build(predictions, compiled._conform_to_outputs(predictions, labels))


def take_compiled_state(model: Any) -> list[str]:
    """Makes what is trained of a model what was when it was compiled, as its `fit` does; returns the layers that had been changed."""
    then, now = getattr(model, "_compiled_trainable_state", None) or {}, model._get_trainable_state()
    changed = [layer.name for layer, trained in then.items() if layer in now and now[layer] != trained]
    if changed:
        model._set_trainable_state(then)
    return changed


def losses_of(model: Any) -> list[Any]:
    """Returns the compiled loss objects of a model whose loss is built; none without a loss."""
    if model.compiled_loss is None:
        return []
    return [loss for loss in model.compiled_loss._losses or [] if isinstance(loss, tf_keras.losses.Loss)]


def build_loss_and_metrics(model: Any, inputs: Any, labels: Any, beside: Callable[[Any, Any], Any]) -> None:
    """Makes the compiled loss and metrics of a model, which has then all its variables.

    Args:
        model: compiled.
        inputs, labels: of a batch.
        beside: labels and predictions to labels in the structure of the predictions.
    """
    predictions = model(inputs, training=False)
    labels = beside(labels, predictions)
    model.compiled_loss.build(predictions)
    if model.compiled_metrics is not None and labels is not None:
        _build_metrics(model, predictions, labels)


def is_idle_loss_tracker(model: Any, metric: Any, state: Sequence[Any]) -> bool:
    """Returns whether a metric is Keras's mean of the loss and counted nothing: a step of the model's own may ignore it."""
    return any(metric is each for each in model.compiled_loss.metrics[:1]) and not float(state[-1])


def adds_losses_of_rows(model: Any) -> bool:
    """Returns whether the last call of a model added losses; those of weights alone are functions that its layers keep."""
    return any(layer._losses or layer._eager_losses for layer in model._flatten_layers())


def layer_metrics_of(model: Any) -> list[Any]:
    """Returns the metrics of a model that are none of its compiled ones: its layers update them in their calls."""
    parts = [part for part in (model.compiled_loss, model.compiled_metrics) if part is not None]
    compiled = [metric for part in parts for metric in part.metrics]
    return [m for m in model.metrics if not any(m is known for known in compiled)]


def outputs_with_loss(model: Any, predictions: Any) -> list[Any]:
    """Returns the predictions that a compiled loss looks at; all of them where that cannot be known."""
    outputs: list[Any] = tf.nest.flatten(predictions)
    losses = getattr(model.compiled_loss, "_losses", None) or []
    if len(losses) != len(outputs):
        return outputs
    return [output for output, loss in zip(outputs, losses) if loss is not None]


def average_variables(optimizer: Any) -> list[Any] | None:
    """Returns the moving averages that an optimizer with `use_ema` keeps, in the order of its variables; else None."""
    if not getattr(optimizer, "use_ema", False):
        return None
    return list(optimizer._model_variables_moving_average)


def unlisted_variables(optimizer: Any) -> list[Any]:
    """Returns what a built optimizer needs to go on and does not count among its `variables`.

    That is the learning rate (where it is no schedule), Nadam's product of momentums, and the state of a dynamic loss scale.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(inner, "learning_rate", None)
    fixed = isinstance(rate, tf.Variable) and rate is not getattr(inner, "_current_learning_rate", None)
    found = [rate if fixed else None, getattr(inner, "_u_product", None)]
    if isinstance(optimizer, tf_keras.mixed_precision.LossScaleOptimizer) and optimizer.dynamic:
        require_assigned(*_here, type(optimizer), "_loss_scale", use=_USE)
        scale = optimizer._loss_scale
        require_assigned(*_here, type(scale), "_current_loss_scale", "_counter", use=_USE)
        found += [scale._current_loss_scale, scale._counter]
    return [v for v in found if isinstance(v, tf.Variable)]


class _Reached:
    """Stands for a counter that has reached whatever it is compared with."""

    def __eq__(self, other: object) -> Any:
        return tf.constant(True)

    __hash__ = None  # type: ignore[assignment]

    def __iadd__(self, number: int) -> _Reached:
        return self


def compute_momentum_product_once(optimizer: Any) -> None:
    """Makes a built Nadam multiply its product of momentums once a step in a graph, too, as it does eagerly.

    It counts in Python whether a step has multiplied already. In a graph that counts traces, not steps: the product is multiplied
    once for each variable, save in the step whose number the count of traces happens to be.
    """
    if not isinstance(optimizer, tf_keras.optimizers.Nadam) or isinstance(optimizer._u_product_counter, _Reached):
        return
    apply = optimizer._internal_apply_gradients

    def multiply(strategy: Any, product: Any) -> None:
        step = tf.cast(optimizer.iterations + 1, product.dtype)
        momentum = optimizer.beta_1 * (1.0 - 0.5 * tf.pow(tf.cast(0.96, product.dtype), step))
        strategy.extended.update(product, lambda v: v.assign(v * momentum), group=False)

    def applied(grads_and_vars: Any) -> Any:
        merge = tf.__internal__.distribute.interim.maybe_merge_call
        merge(multiply, tf.distribute.get_strategy(), optimizer._u_product)
        return apply(grads_and_vars)

    optimizer._u_product_counter = _Reached()
    optimizer._internal_apply_gradients = applied
