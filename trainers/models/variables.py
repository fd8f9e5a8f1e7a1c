"""The variables of a model of any kind, in the order in which a checkpoint and an export have them."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from trainers.compat.keras import layer_metrics_of, plain_variables, recurrent_states, tf_variable
from trainers.compat.tensorflow import attributes_of_module

__all__ = [
    "carried_on",
    "constraints_of",
    "counted_by_layers",
    "held_by_losses",
    "is_keras_model",
    "named_variables",
    "take_compiled_state",
]


def named_variables(model: Any, trained: bool = False) -> list[tuple[str, Any]]:
    """Returns (name, tf.Variable) of a model without those of its optimizer, each once.

    Args:
        model: a model of either Keras, or a tf.Module, whose parts of Keras 3 count, too.
        trained: only those that an optimizer changes, in the order of `trainable_variables`.
    """
    optimizer = {id(tf_variable(v)) for v in _optimizer_variables(model)}
    if isinstance(model, tf.Module) and not is_keras_model(model):
        found = [(name, v) for name, v, changes in _module_variables(model) if changes or not trained]
    else:
        of_model = (
            model.trainable_variables
            if trained
            else [*model.variables, *recurrent_states(model), *plain_variables(model)]
        )
        # A lookup layer of tf_keras counts its vocabulary among its variables.
        found = [(_name(v), tf_variable(v)) for v in of_model if hasattr(v, "assign")]
    return list({id(v): (name, v) for name, v in found if id(v) not in optimizer}.values())


def carried_on(model: Any) -> list[tf.Variable]:
    """Returns what a call of a model may hand on to the next, in an evaluation as in training: all that no optimizer changes.

    States and seeds of draws are among it, counts of calls, and what lies in a loss.
    """
    trained = {id(v) for _, v in named_variables(model, trained=True)}
    return [v for _, v in [*named_variables(model), *held_by_losses(model)] if id(v) not in trained]


def is_keras_model(model: Any) -> bool:
    """Returns whether it is a model of either Keras."""
    keras2 = sys.modules.get("tf_keras")
    return isinstance(model, keras.Model) or (keras2 is not None and isinstance(model, keras2.Model))


def counted_by_layers(model: Any) -> list[Any]:
    """Returns the tf.Variables of the metrics that layers of a Keras model update in their calls: no variables of the model."""
    if isinstance(model, keras.Model):
        metrics = layer_metrics_of(model)
    elif is_keras_model(model):
        from trainers.compat import tf_keras as inside

        metrics = inside.layer_metrics_of(model)
    else:
        metrics = []
    return [tf_variable(v) for metric in metrics for v in metric.variables]


def held_by_losses(model: Any) -> list[tuple[str, Any]]:
    """Returns (name, tf.Variable) of what compiled losses keep of their own, each once: no Keras counts it among a model's variables.

    That is what lies in a loss object or in what it holds, and what a loss function takes from outside of itself. Not layers: they are
    models of their own, which no step trains.
    """
    found: dict[int, tuple[str, Any]] = {}
    losses = tf.nest.flatten(getattr(model, "loss", None))
    left: list[tuple[str, Any]] = [(_title(loss), loss) for loss in losses]
    seen: set[int] = set()
    while left:
        name, part = left.pop(0)
        if isinstance(part, tf.Variable | keras.Variable):
            found.setdefault(id(tf_variable(part)), (name, tf_variable(part)))
        elif id(part) not in seen:
            seen.add(id(part))
            left += [(f"{name}/{key}", value) for key, value in _held(part).items()]
    return list(found.values())


def _title(loss: Any) -> str:
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__))


def _held(part: Any) -> dict[str, Any]:
    """Returns name to what a loss, a function or a list or dict of theirs holds."""
    if isinstance(part, Mapping):
        return {str(key): value for key, value in part.items()}
    if isinstance(part, list | tuple):
        return {str(i): value for i, value in enumerate(part)}
    if isinstance(part, functools.partial):
        return {"function": part.func, "arguments": part.args, **part.keywords}
    if isinstance(part, types.MethodType):
        return {"function": part.__func__, "self": part.__self__}
    if isinstance(part, types.FunctionType):
        cells = zip(part.__code__.co_freevars, part.__closure__ or (), strict=True)
        outside = {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}
        named = {name: part.__globals__.get(name) for name in part.__code__.co_names}
        return outside | {k: v for k, v in named.items() if isinstance(v, tf.Variable | keras.Variable)}
    kinds = {kind.__name__ for kind in type(part).__mro__}
    if isinstance(part, keras.random.SeedGenerator):
        return {"state": part.state}
    return dict(vars(part)) if "Loss" in kinds and hasattr(part, "__dict__") else {}


def take_compiled_state(model: Any) -> list[str]:
    """Makes what is trained of a model what its own `fit` trains; returns the layers that were frozen or thawed in vain.

    That of Keras 3 goes by what is trainable when it traces, that of tf_keras by what was when the model was compiled.
    """
    keras2 = sys.modules.get("tf_keras")
    if keras2 is None or not isinstance(model, keras2.Model):
        return []
    from trainers.compat import tf_keras as inside

    return inside.take_compiled_state(model)


def constraints_of(module: tf.Module) -> list[tuple[Any, Callable[[Any], Any]]]:
    """Returns (tf.Variable, constraint) of the trained variables of Keras 3 in a module: their tf.Variables know of none."""
    trained = {id(v) for _, v in named_variables(module, trained=True)}
    found = {id(tf_variable(v)): v for part in _keras_parts(module) for v in _variables_of_part(part)}
    return [(tf_variable(v), v.constraint) for key, v in found.items() if key in trained and v.constraint is not None]


def _module_variables(module: tf.Module) -> list[tuple[str, Any, bool]]:
    """Returns (name, tf.Variable, whether it is trained) of everything in a module.

    `tf.Module` looks for tf.Variables in attributes that are modules. A layer of Keras 3 is none, and a variable of Keras 3 is no
    tf.Variable: their weights would stay as they are, and be in no checkpoint, without a word.
    """
    trained = {id(tf_variable(v)) for v in module.trainable_variables}
    found = {id(tf_variable(v)): (_name(v), tf_variable(v)) for v in module.variables}
    says_itself = type(module).trainable_variables is not tf.Module.trainable_variables
    for part in _keras_parts(module):
        layer = isinstance(part, keras.layers.Layer)
        if not says_itself:
            trained |= {
                id(tf_variable(v)) for v in (part.trainable_variables if layer else [part] if part.trainable else [])
            }
        for variable in _variables_of_part(part):
            found.setdefault(id(tf_variable(variable)), (variable.path, tf_variable(variable)))
    return [(name, v, key in trained) for key, (name, v) in found.items()]


def _variables_of_part(part: Any) -> list[Any]:
    return list(part.variables) if isinstance(part, keras.layers.Layer) else [part]


def _keras_parts(module: tf.Module) -> Iterator[Any]:
    """Gives the layers and variables of Keras 3 among the attributes of a module and of the modules in it, in the order of their names."""
    for each in (module, *module.submodules):
        for _, value in attributes_of_module(each):
            for part in _leaves(value):
                if isinstance(part, keras.layers.Layer | keras.Variable):
                    yield part


def _leaves(value: Any) -> list[Any]:
    try:
        leaves: list[Any] = tf.nest.flatten(value)
    except (TypeError, ValueError):  # a dict whose keys have no order: tf.Module does not look into it either
        return []
    return leaves


def _name(variable: Any) -> str:
    name: str = variable.path if hasattr(variable, "path") else variable.name
    return name


def _optimizer_variables(model: Any) -> list[Any]:
    variables = getattr(getattr(model, "optimizer", None), "variables", [])
    return list(variables() if callable(variables) else variables)
