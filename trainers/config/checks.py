"""Settings held to the types that their dataclass declares, with an error that names the setting and what it takes."""

from __future__ import annotations

import dataclasses
import numbers
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.errors import ConfigError

__all__ = ["check_types", "from_mapping", "require"]


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "none",
    Any: "anything",
}


def require(condition: bool, key: str, seen: Any, allowed: str) -> None:
    """Raises a ConfigError that names setting, value and what is allowed, where the condition does not hold."""
    if not condition:
        raise ConfigError(f"{key}={seen!r}: {allowed}")


def check_types(settings: Any) -> None:
    """Holds each field of a frozen dataclass to its annotation; mappings become the dataclass that the annotation names.

    Raises:
        ConfigError: a value of another type.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        try:
            fits, new = _fitted(value, hints[field.name])
        except ConfigError as error:
            raise ConfigError(f"{field.name}: {error}") from None
        require(fits, field.name, value, f"{_name(hints[field.name])} is expected")
        object.__setattr__(settings, field.name, new)


def from_mapping(kind: Any, values: Mapping[str, Any]) -> Any:
    """Returns a dataclass of these values.

    Raises:
        ConfigError: a name that it does not have, a required one that is missing, or a value that it refuses.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"{kind.__name__} has no setting {unknown[0]!r}; allowed are {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{kind.__name__}: {error}") from None


def _fitted(value: Any, hint: Any) -> tuple[bool, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found = [fitted for fitted in (_fitted(value, one) for one in arguments) if fitted[0]]
        return found[0] if found else (False, value)
    if dataclasses.is_dataclass(hint):
        return (True, from_mapping(hint, value)) if isinstance(value, Mapping) else (isinstance(value, hint), value)  # type: ignore[arg-type]
    if origin is tuple:
        whole = isinstance(value, list | tuple) and len(value) == len(arguments)
        return whole and all(_fitted(v, a)[0] for v, a in zip(value, arguments)), tuple(value) if whole else value
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping), value
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list | tuple) and all(_fitted(v, arguments[0])[0] for v in value), value
    if hint in (int, float):
        wanted = numbers.Integral if hint is int else numbers.Real
        fits = isinstance(value, wanted) and not isinstance(value, bool)
        return fits, int(value) if fits and hint is int else value  # type: ignore[call-overload]
    return (hint is Any or isinstance(value, hint)), value


def _name(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_name(one) for one in arguments)
    if typing.get_origin(hint) is tuple:
        return f"({', '.join(_name(one) for one in arguments)})"
    if arguments:
        key = "a list" if len(arguments) == 1 else "a mapping"
        return f"{key} of {' to '.join(_name(one).removeprefix('a ') for one in arguments)}"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
