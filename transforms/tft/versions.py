"""The door to names that TensorFlow Transform and TensorFlow keep to themselves: each is asked for here, or the error says which is gone.

A private name may go with any release. Where one is missing the import of the file that needs it fails with the version that is
installed and those that fit, rather than a pass in its middle with an AttributeError.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from engine.core.errors import ConfigError

__all__ = ["private", "require"]

_FITTING = {"tensorflow-transform": ">=1.21,<1.22", "tfx": ">=1.21,<1.22", "tensorflow": ">=2.21,<2.22"}


def require(owner: Any, *names: str, distribution: str = "tensorflow-transform") -> None:
    """Checks that a module or class has its private names.

    Args:
        owner: the module or class of the other library.
        *names: attributes that it must have.
        distribution: the name under which the library is installed.

    Raises:
        ConfigError: one is missing in the version that is installed.
    """
    for name in names:
        if not hasattr(owner, name):
            _refuse(getattr(owner, "__name__", str(owner)), name, distribution)


def private(instance: Any, name: str, distribution: str = "tensorflow-transform") -> Any:
    """Returns a private attribute of an object of the other library.

    Raises:
        ConfigError: the object has none of this name in the version that is installed.
    """
    if not hasattr(instance, name):
        _refuse(type(instance).__name__, name, distribution)
    return getattr(instance, name)


def _refuse(owner: str, name: str, distribution: str) -> None:
    version = importlib.metadata.version(distribution)
    raise ConfigError(f"{distribution} {version} has no {owner}.{name}; install {distribution}{_FITTING[distribution]}")
