"""Launchers by name; each is imported when asked for, so that a missing Ray or Kubernetes client hinders nobody else."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from cluster.launchers.base import Launcher
from engine.core.errors import ConfigError

__all__ = ["LAUNCHERS", "launcher"]

LAUNCHERS = {
    "local": "cluster.launchers.local:LocalLauncher",
    "ray": "cluster.launchers.ray:RayLauncher",
    "kubernetes": "cluster.launchers.kubernetes:KubernetesLauncher",
}


def launcher(name: str, **options: Any) -> Launcher:
    """Returns the launcher of that name.

    Args:
        name: "local", "ray" or "kubernetes".
        options: of its constructor, e.g. kind="jobset" for Kubernetes.

    Raises:
        ConfigError: no such launcher or option, or its extra is not installed.
    """
    if name not in LAUNCHERS:
        raise ConfigError(f"launcher = {name!r}: expected one of {', '.join(LAUNCHERS)}")
    module, _, cls_name = LAUNCHERS[name].partition(":")
    try:
        cls: type[Launcher] = getattr(importlib.import_module(module), cls_name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("cluster", "engine"):
            raise
        raise ConfigError(f"launcher {name!r} needs {error.name}: pip install 'fullpass[{name}]'") from error
    known = list(inspect.signature(cls).parameters)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ConfigError(f"launcher {name!r} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    return cls(**options)
