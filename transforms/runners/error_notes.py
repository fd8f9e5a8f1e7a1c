"""Errors of workers as JSON: who reads one builds an error of our own or of Python's, and runs nothing that came with it."""

from __future__ import annotations

import builtins
from typing import Any

from engine.core.errors import ConfigError, DataError, FullpassError, NoRoom, NotMet

__all__ = ["error_from_note", "error_note"]

_KINDS: dict[str, type[FullpassError]] = {
    kind.__name__: kind for kind in (FullpassError, ConfigError, DataError, NoRoom, NotMet)
}
_PLACES: dict[str, type] = {"path": str, "record": int, "offset_bytes": int}
_PLAIN = (str, int, float, type(None))


def error_note(error: Exception) -> dict[str, Any]:
    """Returns an error as what JSON takes: its kind, its message, and of bad data the place.

    Args:
        error: any; of a class that is neither ours nor Python's the name goes into the message.
    """
    if isinstance(error, FullpassError):
        kind = next(each.__name__ for each in type(error).__mro__ if _KINDS.get(each.__name__) is each)
        if isinstance(error, DataError):
            places = {name: getattr(error, name) for name in _PLACES}
            return {"type": kind, "message": str(error.message), **places}
        return {"type": kind, "message": str(error)}
    name = type(error).__name__
    note: dict[str, Any] = {"type": name, "message": f"{name}: {error}"}
    if getattr(builtins, name, None) is type(error) and all(isinstance(each, _PLAIN) for each in error.args):
        note["args"] = list(error.args)
        if isinstance(error, OSError) and isinstance(error.filename, str):
            note["args"].append(error.filename)
    return note


def error_from_note(note: Any) -> Exception | None:
    """Returns the error of a note, or None where it is none.

    Args:
        note: what JSON said, which may be anybody's.
    """
    if not isinstance(note, dict) or not isinstance(note.get("message"), str):
        return None
    name, message, args = str(note.get("type")), note["message"], note.get("args")
    if isinstance(args, list):
        return _of_python(name, args) or FullpassError(message)
    kind = _KINDS.get(name, FullpassError)
    if not issubclass(kind, DataError):
        return kind(message)
    return kind(message, **{key: note[key] for key, of in _PLACES.items() if isinstance(note.get(key), of)})


def _of_python(name: str, args: list[Any]) -> Exception | None:
    kind = getattr(builtins, name, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return None
    try:
        return kind(*args)
    except (TypeError, ValueError):  # not what it is made of
        return None
