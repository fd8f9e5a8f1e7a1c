"""A model is of one generation of Keras: a part of the other one would be left out of training without a word.

Each Keras knows only its own layers as parts of a model, and takes any other callable for a function: weights of a foreign
layer are not trained, a foreign metric adds up over evaluations, a foreign loss is reduced by other rules.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from engine.core.errors import ConfigError

__all__ = ["check_generation"]

_NAMES = {"keras": "Keras 3", "tf_keras": "tf_keras (Keras 2)"}
# In this order: a metric of tf_keras is a layer, too.
_KINDS = {"loss": "losses.Loss", "metric": "metrics.Metric", "layer": "layers.Layer"}


def check_generation(model: Any, package: str) -> None:
    """Refuses layers, losses and metrics of the other Keras, at any depth of a model.

    A layer of tf_keras in a model of Keras 3 is taken where it is not trainable: it is applied as a function.

    Args:
        model: a compiled model.
        package: the Keras that it is of: "keras" or "tf_keras".

    Raises:
        ConfigError: names the part.
    """
    other = "tf_keras" if package == "keras" else "keras"
    library = sys.modules.get(other)
    if library is None:  # nothing can be of a Keras that was never imported
        return
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        packages = {each.__module__.partition(".")[0] for each in type(part).__mro__}
        if other in packages:
            kind = _kind(part, library)
            # TFT's layer, which a model may carry for its export, is of whatever tf.keras is.
            applied = kind == "layer" and package == "keras"  # tf_keras looks into any layer, and fails on Keras 3's
            if kind and "tensorflow_transform" not in packages and not (applied and not part.trainable):
                raise ConfigError(
                    f"{type(model).__name__} is of {_NAMES[package]}, but its {kind} {_shown(part)} is of {_NAMES[other]}, "
                    "which would not be trained or measured with it; build all of a model with one of them (`import keras` is "
                    "Keras 3; `tf.keras` is tf_keras where TF_USE_LEGACY_KERAS=1 is set, as TFT sets it)"
                    + ("; or set its trainable = False, where it is only applied" if applied else "")
                )
            continue
        waiting += _items(part)
        if package in packages and hasattr(part, "__dict__"):
            waiting += vars(part).values()


def _kind(part: Any, library: Any) -> str | None:
    for kind, path in _KINDS.items():
        module, _, name = path.partition(".")
        if isinstance(part, getattr(getattr(library, module), name)):
            return kind
    return None


def _items(part: Any) -> Iterable[Any]:
    """Returns what a container holds; lists and dicts that a Keras wraps are containers, too."""
    if isinstance(part, Mapping):
        return part.values()
    return part if isinstance(part, list | tuple | set | frozenset) else ()


def _shown(part: Any) -> str:
    name = getattr(part, "name", None)
    return f"{type(part).__name__}{f' {name!r}' if isinstance(name, str) else ''}"
