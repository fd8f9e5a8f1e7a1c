"""TFX's Transform on Fullpass's passes: `from transforms.tfx import Transform` in the place of `tfx.components.Transform`."""

from __future__ import annotations

from typing import Any

__all__ = ["Executor", "Transform"]


def __getattr__(name: str) -> Any:
    """Imports TFX when one of the names is used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from transforms.tfx import component

    return getattr(component, name)
