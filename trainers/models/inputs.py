"""Which features a model takes, and how they are handed to it: one owner for training, evaluation and export.

Were the choice made in two places, a model could be served other inputs than it was trained with.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from engine.core.errors import ConfigError
from engine.schema.metadata_keys import feature_descriptions

__all__ = ["asked_features", "feature_columns", "feature_names", "model_inputs", "takes_argument"]


def asked_features(model: Any, available: Iterable[str]) -> list[str] | None:
    """Returns the features that a model's inputs name, in the order of `available`.

    Args:
        model: a Keras model of either generation, or a tf.Module.
        available: names of the features that there are.

    Returns:
        Names, or None where the model does not say (a subclassed model, a tf.Module, an input without a feature's name):
        it is handed all of them.
    """
    declared = _declared_inputs(model)
    if declared is None:
        return None
    names, known = set(_names(declared)), list(available)
    if not names <= set(known):
        return None
    return [name for name in known if name in names]


def feature_names(spec: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Returns the features that a model may take: those that the settings choose, or all but labels and the weight.

    Args:
        spec: feature spec of the (transformed) data, labels and weight among it.
        settings: of the training, as `TrainerConfig.as_json` gives them and a checkpoint keeps them.

    Raises:
        ConfigError: a chosen feature, or one to pad, that the data does not have.
    """
    label, chosen = settings.get("label"), settings.get("features")
    others = {*([label] if isinstance(label, str) else label or ()), settings.get("weight")}
    for key, names in (("features", chosen or ()), ("pad", settings.get("pad") or ())):
        missing = [name for name in names if name not in spec]
        if missing:
            raise ConfigError(f"{key}: feature {missing[0]!r} not found; the data has {', '.join(sorted(spec))}")
    return list(chosen) if chosen is not None else [name for name in spec if name not in others]


def feature_columns(schema: Any, features: Iterable[str]) -> list[str]:
    """Returns the columns of a data set that hold features: of a `SparseFeature` or `RaggedFeature` several each.

    Args:
        schema: pyarrow schema of the data set.
        features: names of its feature spec.
    """
    wanted = set(features)
    return [field.name for field in schema if field.name in wanted or wanted & _features_of(field)]


def _features_of(field: Any) -> set[str]:
    return {description["name"] for description in feature_descriptions(field)}


def model_inputs(model: Any, features: Mapping[str, Any]) -> Any:
    """Returns what the model is called with: its inputs in the structure that it was built with.

    A functional model gets the features that its inputs name, as the dict, list or single tensor that it was built with; a
    Sequential model one feature; a subclassed model and a tf.Module the dict of all features.

    Raises:
        ConfigError: an input that no feature has the name of.
    """
    declared = _declared_inputs(model)
    if declared is not None:
        return _chosen(declared, None, features, alone=len(_names(declared)) == 1 and len(features) == 1)
    if not _is_sequential(model):
        return dict(features)
    if len(features) == 1:
        return next(iter(features.values()))
    raise ConfigError(
        f"a Sequential model takes one feature, the data has {', '.join(sorted(features))}: choose one by "
        "features=[NAME], or name its input, keras.Input(..., name=NAME)"
    )


def _declared_inputs(model: Any) -> Any:
    """Returns the symbolic inputs of a functional or Sequential model in their structure, None where it has none."""
    from trainers.compat import keras as keras3

    declared = keras3.declared_inputs(model)
    if declared is None and "tf_keras" in sys.modules:
        from trainers.compat import tf_keras as keras2

        declared = keras2.input_structure(model)
    return declared


def _is_sequential(model: Any) -> bool:
    import keras

    keras2 = sys.modules.get("tf_keras")
    return isinstance(model, keras.Sequential) or (keras2 is not None and isinstance(model, keras2.Sequential))


def _names(declared: Any, key: str | None = None) -> list[str]:
    if isinstance(declared, Mapping):
        return [name for k, part in declared.items() for name in _names(part, str(k))]
    if isinstance(declared, list | tuple):
        return [name for part in declared for name in _names(part)]
    return [key or declared.name]


def _chosen(declared: Any, key: str | None, features: Mapping[str, Any], alone: bool) -> Any:
    if isinstance(declared, Mapping):
        return {k: _chosen(part, str(k), features, alone) for k, part in declared.items()}
    if isinstance(declared, list | tuple):
        parts = [_chosen(part, None, features, alone) for part in declared]
        return parts if isinstance(declared, list) else tuple(parts)
    for name in (key, declared.name):
        if name is not None and name in features:
            return features[name]
    if alone:
        return next(iter(features.values()))  # one input and one feature: whatever they are called
    raise ConfigError(
        f"the model has an input {key or declared.name!r}, the data has {', '.join(sorted(features))}: name the input after "
        "its feature, or choose the feature by features=[NAME]"
    )


def takes_argument(function: Any, name: str) -> bool:
    """Returns whether a function can be called with a keyword argument of this name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # built-in functions have no signature
        return False
    return name in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
