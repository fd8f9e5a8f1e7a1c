"""Which callback of Keras a saved state is of: the class, and what tells callbacks of one class apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

__all__ = ["has_settings_of", "settings_of", "watches_the_same"]

_SETTINGS = ("monitor", "filepath", "patience", "factor", "start_from_epoch")


def settings_of(callback: Any) -> dict[str, str]:
    """Returns what tells a callback from others of its class."""
    own = vars(callback)
    return {name: str(own[name]) for name in _SETTINGS if isinstance(own.get(name), str | int | float | os.PathLike)}


def has_settings_of(state: Sequence[Any], callback: Any) -> bool:
    """Returns whether a callback is of the class and has the settings that a saved one had."""
    name, _, *settings = state
    return bool(name == type(callback).__name__ and settings[:1] == [settings_of(callback)])


def watches_the_same(state: Sequence[Any], callback: Any) -> bool:
    """Returns whether it is of the same class and watches the same value; an earlier version did not write down which."""
    name, _, *settings = state
    same = not settings or settings[0].get("monitor") == settings_of(callback).get("monitor")
    return bool(name == type(callback).__name__ and same)
