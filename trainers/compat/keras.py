"""Private names of Keras 3 that training needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src import backend
from keras.src.models.functional import Functional

from trainers.compat.require import require, require_assigned

__all__ = [
    "aggregate_gradients_with",
    "average_variables",
    "build_from_batch",
    "compute_loss",
    "declared_inputs",
    "has_fixed_rows",
    "input_structure",
    "is_idle_loss_tracker",
    "layer_metrics_of",
    "losses_of",
    "mask_of",
    "masked",
    "optimizer_variables",
    "outputs_with_loss",
    "plain_variables",
    "recurrent_states",
    "renew_constants",
    "takes_training",
    "tf_variable",
    "trackers_of",
]

_USE = ">=3.12,<3.16"
_here = ("keras", keras.__version__)
require(*_here, keras.Model, "_flatten_layers", "_symbolic_build", "_compute_loss", use=_USE)
require(*_here, keras.optimizers.Optimizer, "_all_reduce_sum_gradients", use=_USE)
require_assigned(*_here, keras.Sequential, "_functional", use=_USE)
require_assigned(*_here, Functional, "_inputs_struct", use=_USE)
require_assigned(*_here, keras.optimizers.Optimizer, "_model_variables_moving_average", use=_USE)
require_assigned(
    *_here, keras.Model, "_call_has_training_arg", "_loss_tracker", "_compile_loss", "_compile_metrics", use=_USE
)


def tf_variable(variable: Any) -> tf.Variable:
    """Returns the tf.Variable of a Keras 3 variable; a tf.Variable, as tf_keras and tf.Module have them, is returned.

    The `value` of a tf.Variable is a method that makes a copy, the `value` of a Keras 3 variable is the variable.
    """
    return variable if isinstance(variable, tf.Variable) else variable.value


def input_structure(model: Any) -> Any:
    """Returns the nest of inputs of a functional model, None of a subclassed one."""
    return getattr(model, "_inputs_struct", None)


def declared_inputs(model: Any) -> Any:
    """Returns the nest of inputs of a functional or Sequential model, None of one that declares none."""
    return input_structure(getattr(model, "_functional", None) or model)  # where a Sequential model keeps its graph


def renew_constants(model: Any) -> None:
    """Makes anew what Normalization layers, and Discretization ones of tf_keras, made of their variables when they were adapted: they
    compute with those constants.

    To be called after variables were given other values, as `load_weights` of either generation does it; others have no such state.
    """
    layers = getattr(model, "_flatten_layers", None)
    for layer in layers() if layers is not None else ():
        kinds = _kinds(layer)
        # Those of Keras 3 keep their bins beside their variables, as the model was built with them.
        adapted = isinstance(getattr(layer, "summary", None), tf.Variable) and tf.size(layer.summary) > 0
        if ("Normalization" in kinds and hasattr(layer, "finalize_state")) or adapted:
            layer.finalize_state()


def recurrent_states(model: Any) -> list[Any]:
    """Returns the variables in which stateful recurrent layers of a Keras 3 model hand on their states: no model lists them."""
    layers = model._flatten_layers() if isinstance(model, keras.Model) else ()
    stateful = [layer for layer in layers if isinstance(layer, keras.layers.RNN) and layer.stateful]
    return [state for layer in stateful for state in keras.tree.flatten(layer.states) if state is not None]


def plain_variables(model: Any) -> list[Any]:
    """Returns the tf.Variables that are attributes of layers of a Keras 3 model: it tracks its own kind of variable alone."""
    layers = model._flatten_layers() if isinstance(model, keras.Model) else ()
    values = [value for layer in layers for value in vars(layer).values()]
    lists = [value for value in values if isinstance(value, list | tuple)]
    return [v for v in [*values, *(each for one in lists for each in one)] if isinstance(v, tf.Variable)]


def has_fixed_rows(model: Any) -> bool:
    """Returns whether a model of either generation takes batches of one size: it declares that, or carries recurrent states on."""
    # A Sequential model declares the size of the first batch where it declares no shape itself.
    sequential = "Sequential" in _kinds(model)
    inputs = [] if sequential else tf.nest.flatten(getattr(model, "inputs", None) or [])
    declared = any(shape and shape[0] is not None for shape in (tuple(each.shape) for each in inputs))
    return declared or any(
        "RNN" in _kinds(layer) and getattr(layer, "stateful", False) for layer in model._flatten_layers()
    )


def _kinds(part: Any) -> set[str]:
    """Returns the names of an object's classes: those of both generations have the same."""
    return {kind.__name__ for kind in type(part).__mro__}


def takes_training(model: Any) -> bool:
    """Returns whether the model's call has an argument `training`."""
    return bool(model._call_has_training_arg)


def build_from_batch(model: Any, batch: tuple[Any, Any, Any], beside: Callable[[Any, Any], Any]) -> None:
    """Makes the variables of model, loss and metrics from a batch (inputs, labels, weights), as `fit` does.

    Args:
        model: compiled.
        batch: of zeros.
        beside: labels and predictions to labels in the structure of the predictions.
    """
    inputs, labels, weights = batch
    options = {"training": False} if takes_training(model) else {}
    if not any(isinstance(part, tf.SparseTensor | tf.RaggedTensor) for part in tf.nest.flatten(inputs)):
        if isinstance(labels, Mapping):
            symbols = tf.nest.map_structure(lambda t: keras.KerasTensor(t.shape, t.dtype.name), inputs)
            labels = beside(labels, backend.compute_output_spec(model, symbols, **options))
        model._symbolic_build(data_batch=(inputs, labels, weights))
        return
    # Keras builds with symbolic tensors, which many a `call` cannot take in the place of sparse or ragged ones.
    predictions = model(inputs, **options)
    if labels is not None:
        for compiled in (model._compile_loss, model._compile_metrics):
            if compiled is not None:
                compiled.build(beside(labels, predictions), predictions)


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
    """Returns the model's loss; a `compute_loss` of the time before Keras 3.3, without `training`, is called as it is."""
    return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)


def trackers_of(model: Any, own_steps: bool) -> list[Any]:
    """Returns the metrics of a compiled model; the mean of the loss only where the model makes its own steps."""
    return [m for m in model.metrics if own_steps or m is not model._loss_tracker]


def layer_metrics_of(model: Any) -> list[Any]:
    """Returns the metrics of a model that are none of its compiled ones: its layers update them in their calls."""
    if not model.compiled:
        return list(model.metrics)
    compiled = [model._loss_tracker, model._compile_metrics, *getattr(model._compile_loss, "metrics", ())]
    return [m for m in model.metrics if not any(m is known for known in compiled)]


def is_idle_loss_tracker(model: Any, metric: Any, state: Sequence[Any]) -> bool:
    """Returns whether a metric is Keras's mean of the loss and counted nothing: a step of the model's own may ignore it."""
    return metric is model._loss_tracker and not float(state[-1])


def mask_of(tensor: Any) -> Any:
    """Returns which steps of a prediction count, as its layers say (bool, its first dimensions), or None; of both generations."""
    return getattr(tensor, "_keras_mask", None)


def masked(tensor: Any, mask: Any) -> Any:
    """Returns the tensor, which has this mask from now on, as `mask_of` reads it."""
    tensor._keras_mask = mask
    return tensor


def losses_of(model: Any) -> list[Any]:
    """Returns the compiled `keras.losses.Loss` objects of a model whose loss is built; none without a loss."""
    compiled = model._compile_loss
    if compiled is None:
        return []
    require_assigned(*_here, type(compiled), "_flat_losses", use=_USE)
    return [part.loss for part in compiled._flat_losses or [] if isinstance(part.loss, keras.losses.Loss)]


def outputs_with_loss(model: Any, predictions: Any) -> list[Any]:
    """Returns the predictions that a compiled loss looks at; all of them where that cannot be known."""
    outputs: list[Any] = keras.tree.flatten(predictions)
    compiled = model._compile_loss
    if compiled is None:
        return outputs
    require_assigned(*_here, type(compiled), "_flat_losses", "_y_pred_build_structure", use=_USE)
    found: dict[int, Any] = {}
    try:
        packed = keras.tree.pack_sequence_as(compiled._y_pred_build_structure, outputs)
        for path, *_ in compiled._flat_losses or ():
            output = packed
            for key in path:
                output = output[key]
            found.update({id(each): each for each in keras.tree.flatten(output)})
    except (TypeError, ValueError, LookupError):
        return outputs
    return list(found.values())


def aggregate_gradients_with(optimizer: Any, function: Callable[[Sequence[tuple[Any, Any]]], list[Any]]) -> None:
    """Makes the optimizer take the sum over the replicas from a function of (gradient, variable) pairs."""
    optimizer._all_reduce_sum_gradients = function


def optimizer_variables(optimizer: Any) -> list[Any]:
    """Returns the variables of an optimizer, those among them that it does not list itself.

    A loss scale builds the optimizer within it without tracking its attributes: what that made without `add_variable` (Nadam's product
    of momentums) is listed alone, and not there.
    """
    listed, inner = list(optimizer.variables), getattr(optimizer, "inner_optimizer", optimizer)
    known = {id(v) for v in listed}
    return listed + [v for v in vars(inner).values() if isinstance(v, keras.Variable) and id(v) not in known]


def average_variables(optimizer: Any) -> list[Any] | None:
    """Returns the moving averages that an optimizer with `use_ema` keeps, in the order of its variables; else None."""
    if not optimizer.use_ema:
        return None
    return [tf_variable(v) for v in optimizer._model_variables_moving_average]
