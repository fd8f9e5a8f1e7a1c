"""TOML tables to frozen dataclasses: every mistake is named with its key, the value seen and the values allowed."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from engine.core.errors import ConfigError

__all__ = ["build", "parse_assignment"]

T = TypeVar("T")
_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Returns the dataclass `cls` filled from a TOML table.

    Args:
        cls: a dataclass whose fields are str, int, float, bool, Literal, tuple[X, ...], Mapping[str, X], a dataclass,
            or one of these or None.
        table: the parsed TOML table.
        where: key of the table in the file, e.g. "train"; errors begin with it.

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type or outside the allowed values.
    """
    if not isinstance(table, Mapping):
        raise ConfigError(f"[{where}] must be a table, not {_show(table)}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise ConfigError(f"{_join(where, key)}: unknown key; {_suggest(key, list(fields))}")
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(where, name)}: missing; it must be {_expected(hints[name])}")
    try:
        return cls(**values)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(
            text if not where or text.startswith((where + ".", where + ":")) else _join(where, text)
        ) from None


def parse_assignment(text: str) -> tuple[str, Any]:
    """Returns key and value of "train.epochs=2"; the value is read as TOML, and as a plain string where it is none."""
    from engine.core.toml import TOMLDecodeError, loads

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: expected KEY=VALUE, e.g. --set train.epochs=2")
    try:
        return key.strip(), loads(f"v = {value}")["v"]
    except TOMLDecodeError:
        return key.strip(), value.strip()


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        choices = [h for h in typing.get_args(hint) if h is not type(None)]
        if value is None:
            return None
        if len(choices) == 1:
            return _value(choices[0], value, where)
        for choice in choices:
            try:
                return _value(choice, value, where)
            except ConfigError:
                continue
        raise ConfigError(f"{where} = {_show(value)}: expected {_expected(hint)}")
    if origin is Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
            hint_text = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{where} = {_show(value)}: {hint_text}allowed are {', '.join(map(repr, allowed))}")
        return value
    if origin is tuple or origin is Sequence:
        inner = typing.get_args(hint)[0]
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} = {_show(value)}: expected {_expected(hint)}")
        return tuple(_value(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} = {_show(value)}: expected {_expected(hint)}")
        keys, inner = typing.get_args(hint)
        return {_key(keys, key, where): _value(inner, item, _join(where, key)) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build(hint, value, where)
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint in (int, float) and isinstance(value, bool)):
        raise ConfigError(f"{where} = {_show(value)}: expected {_expected(hint)}")
    return value


def _key(hint: Any, key: str, where: str) -> Any:
    """TOML has only strings for keys; a table by integers is read as one."""
    if hint is not int:
        return key
    try:
        return int(key)
    except ValueError:
        raise ConfigError(f"{_join(where, key)}: the key must be an integer") from None


def _expected(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(h) for h in args if h is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if origin is tuple or origin is Sequence:
        return f"a list, each item {_expected(args[0])}"
    if origin is not None:
        return f"a table, each value {_expected(args[1])}"
    if dataclasses.is_dataclass(hint):
        return "a table"
    return _NAMES.get(hint, str(hint))


def _suggest(key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    return f"did you mean '{near[0]}'?" if near else f"the keys allowed here are {', '.join(allowed)}"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
