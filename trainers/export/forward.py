"""The forward pass of a model and what it owns, whichever library it was made with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from engine.core.errors import ConfigError
from trainers.config.padding import as_pad_lists
from trainers.models.inputs import model_inputs, takes_argument
from trainers.models.padding import pad_lists
from trainers.models.variables import counted_by_layers, is_keras_model, named_variables
from trainers.tables.table import tables_of

__all__ = ["ForwardPass", "call_for_inference", "variables_of"]


class ForwardPass(tf.Module):
    """Calls a model for inference and tracks the variables and tables it needs, not its optimizer or Python code.

    Saving the model object itself would save its optimizer (twice the size of an Adam model again) and trace every layer
    by itself; the SavedModel needs the tensors that the traced signatures capture and nothing else.

    Args:
        model: a Keras 3 or tf_keras model, or a tf.Module that is callable with a dict of features.
        pad: list feature to its `PadList`, or the same as a mapping, as the model was trained with.

    Raises:
        ConfigError: not one of these.
    """

    def __init__(self, model: Any, pad: Mapping[str, Any] | None = None) -> None:
        super().__init__(name="forward_pass")
        self._call = _Untracked(call_for_inference(model, pad, _call_converted))
        self.model_variables = variables_of(model)
        self.model_counts = counted_by_layers(model)
        self.model_resources = _resources(model)
        self.model_tables = [table.values for table in tables_of(model)]

    def __call__(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the model's outputs by name, nested ones as "a/b"; half-precision outputs as float32. One unnamed output is "outputs"."""
        result = self._call.held(features)
        return {name: _full_precision(tensor) for name, tensor in _named(result).items()}


def _call(model: Any, inputs: Any, options: Mapping[str, Any]) -> Any:
    return model(inputs, **options)


@functools.cache
def _converting() -> Any:
    return tf.autograph.to_graph(_call)


def _call_converted(model: Any, inputs: Any, options: Mapping[str, Any]) -> Any:
    """In a graph AutoGraph converts what the model calls, which may branch on tensors: nothing else here does, and it takes long."""
    return (_call if tf.executing_eagerly() else _converting())(model, inputs, options)


def call_for_inference(
    model: Any, pad: Mapping[str, Any] | None = None, call: Callable[[Any, Any, Mapping[str, Any]], Any] = _call
) -> Callable[[Mapping[str, Any]], Any]:
    """Returns what gives a model's own result for features; the model may have no variables yet.

    Args:
        model: see `ForwardPass`.
        pad: see `ForwardPass`.
        call: calls the model with inputs and keyword arguments.
    """
    lists, inputs_of, options = as_pad_lists(pad or {}), *_inference(model)
    return lambda features: call(model, inputs_of(pad_lists(features, lists)), options)


def _named(result: Any) -> dict[str, Any]:
    """Returns the outputs of a model by name: a signature has no nested ones."""
    if not isinstance(result, Mapping):
        parts = tf.nest.flatten(result)
        return {"outputs": parts[0]} if len(parts) == 1 else {f"output_{i}": part for i, part in enumerate(parts)}
    pairs = _flat(result)
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ConfigError(f"two outputs of the model have one name: {', '.join(sorted(name for name, _ in pairs))}")
    return named


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return [(name, value)]
    return [pair for key, part in items for pair in _flat(part, f"{name}/{key}" if name else str(key))]


class _Untracked:
    """Holds something where tf.Module does not look for things to track."""

    def __init__(self, held: Any) -> None:
        self.held = held


def _inference(model: Any) -> tuple[Callable[[Mapping[str, Any]], Any], dict[str, Any]]:
    """Returns what makes the model's inputs of features, and its other arguments."""
    if is_keras_model(model):
        return functools.partial(model_inputs, model), {"training": False}
    if not callable(model) or not isinstance(model, tf.Module):
        raise ConfigError(
            f"a {type(model).__module__}.{type(model).__name__} cannot be exported: expected a keras.Model, a tf_keras.Model "
            "or a tf.Module with __call__(features)"
        )
    return lambda features: features, {"training": False} if takes_argument(model.__call__, "training") else {}


def variables_of(model: Any) -> list[Any]:
    """Returns the tf.Variables of a model without those of its optimizer, in the model's own order."""
    return [v for _, v in named_variables(model)]


def _resources(model: Any) -> list[Any]:
    """Returns lookup tables and the like inside the model, at any depth."""
    found = [
        part
        for part in tf.train.TrackableView(model).descendants()
        if not isinstance(part, tf.Variable) and hasattr(part, "_create_resource")
    ]
    return list({id(part): part for part in found}.values())


def _full_precision(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float32) if tensor.dtype in (tf.bfloat16, tf.float16) else tensor
