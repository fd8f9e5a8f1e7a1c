"""Settings: frozen dataclasses to and from mappings, JSON and TOML, held to the types that they declare.

One form of message for every mistake, wherever the setting comes from (a TOML file, a command line, JSON of a job, Python):
`key: got VALUE; expected ...`, with the key's full path, e.g. `train.checkpoint.keep: got 0; expected at least 1`.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import enum
import json
import numbers
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from engine.core.errors import ConfigError
from engine.core.json_text import RefusedJsonError, parse_json

__all__ = [
    "assign",
    "check_types",
    "convert",
    "decode",
    "decode_json",
    "encode",
    "encode_json",
    "parse_assignment",
    "refusal",
    "require",
]

T = TypeVar("T")
_SHOWN = 60
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "none",
    Any: "anything",
}


def refusal(key: str, value: Any, expected: str) -> ConfigError:
    """Returns the error of a setting that cannot be: `key: got VALUE; expected ...`."""
    text = repr(value)
    return ConfigError(f"{key}: got {text if len(text) <= _SHOWN else text[: _SHOWN - 3] + '...'}; expected {expected}")


def require(condition: bool, key: str, value: Any, expected: str) -> None:
    """Raises `refusal` where the condition does not hold."""
    if not condition:
        raise refusal(key, value, expected)


def check_types(settings: Any) -> None:
    """Holds each field of a frozen dataclass to its annotation, and converts what stands for it. For `__post_init__`.

    A list becomes the tuple, a mapping the dataclass and a whole number the float that the annotation names.

    Raises:
        ConfigError: a value of another type.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = _convert_field(field, hints[field.name], getattr(settings, field.name), field.name)
        object.__setattr__(settings, field.name, value)


def decode(cls: type[T], values: Mapping[str, Any], where: str = "", version: int | None = None) -> T:
    """Returns the dataclass of a mapping, as JSON or TOML gives one.

    Args:
        cls: its fields are str, int, float, bool, Literal, Enum, tuple, Sequence, Mapping, a dataclass, Any, or a union of these.
        values: field → value.
        where: path of the mapping, e.g. "train"; errors begin with it.
        version: value that its key "version" has where it is there; None for mappings without one.

    Raises:
        ConfigError: an unknown or missing key, or a value of another type or that the dataclass refuses.
    """
    require(isinstance(values, Mapping), where or cls.__name__, values, "a table")
    if version is not None:
        seen = values.get("version", version)
        require(seen == version, _join(where, "version"), seen, f"{version}, which this release reads")
        values = {key: value for key, value in values.items() if key != "version"}
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(f"{_join(where, str(key))}: unknown key; {_suggest(str(key), list(fields))}")
    given: dict[str, Any] = {}
    for name, field in fields.items():
        if name in values:
            given[name] = _convert_field(field, hints[name], values[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(where, name)}: missing; expected {_expected(hints[name])}")
    try:
        return cls(**given)
    except ConfigError as error:
        text = str(error)
        known = not where or text.startswith((where + ".", where + ":", where + "["))
        raise ConfigError(text if known else _join(where, text)) from None


def decode_json(cls: type[T], text: str, where: str = "", version: int | None = None) -> T:
    """Returns the dataclass of a JSON text; see `decode`.

    Args:
        cls: see `decode`.
        text: a JSON object.
        where: see `decode`.
        version: see `decode`.

    Raises:
        ConfigError: the text is not JSON, is of another version, or `decode` refuses it.
    """
    try:
        values = parse_json(text, unique=True)
    except ValueError as error:
        raise ConfigError(f"{where or cls.__name__}: not JSON: {error}") from error
    return decode(cls, values, where, version)


def encode(settings: Any) -> dict[str, Any]:
    """Returns the fields that are not at their defaults as JSON values; `decode` gives an equal dataclass."""
    out: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if value != default:
            out[field.name] = _plain(value)
    return out


def encode_json(settings: Any, version: int | None = None) -> str:
    """Returns `encode` as text, with a key "version" where one is given."""
    head = {} if version is None else {"version": version}
    return json.dumps({**head, **encode(settings)}, indent=2, sort_keys=True)


def parse_assignment(text: str, flag: str = "--set") -> tuple[str, Any]:
    """Returns key and value of "train.epochs=2"; the value is read as TOML, else as JSON, else as plain text.

    Raises:
        ConfigError: there is no "=", or it is JSON that nobody can mean: a key given twice, thousands of digits.
    """
    from engine.core.toml import TOMLDecodeError, loads

    key, equals, value = text.partition("=")
    require(bool(equals and key.strip()), flag, text, "KEY=VALUE, e.g. train.epochs=2")
    try:
        parsed = loads(f"v = {value}")["v"]
        # A day is a text in every setting, as JSON has it.
        return key.strip(), value.strip() if isinstance(parsed, datetime.date | datetime.time) else parsed
    except TOMLDecodeError:
        pass
    try:
        return key.strip(), parse_json(value, unique=True)
    except RefusedJsonError as error:
        raise ConfigError(f"{flag} {key.strip()}: {error}") from error
    except ValueError:
        return key.strip(), value.strip()


def assign(tables: dict[str, Any], key: str, value: Any, flag: str = "--set") -> None:
    """Sets what `parse_assignment` gave: "train.epochs" is the key "epochs" of the table "train", which is made where missing.

    Raises:
        ConfigError: what stands before a dot is no table.
    """
    *parents, last = key.split(".")
    table = tables
    for parent in parents:
        table = table.setdefault(parent, {})
        require(isinstance(table, dict), flag, key, f"a table before the dot; {parent} is none")
    table[last] = value


def convert(hint: Any, value: Any, key: str) -> Any:
    """Returns the value as its annotation has it.

    Args:
        hint: see `decode`.
        value: as JSON, TOML or Python gives it.
        key: full path of the setting, for errors.

    Raises:
        ConfigError: it is of another type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, key)
    if origin is Literal:
        if value not in arguments:
            near = difflib.get_close_matches(str(value), [str(each) for each in arguments], n=1)
            raise refusal(key, value, _expected(hint) + (f" (did you mean {near[0]!r}?)" if near else ""))
        return value
    if origin is tuple and arguments[-1:] != (...,):
        require(isinstance(value, list | tuple) and len(value) == len(arguments), key, value, _expected(hint))
        return tuple(convert(each, item, f"{key}[{i}]") for i, (each, item) in enumerate(zip(arguments, value)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        require(isinstance(value, Mapping), key, value, _expected(hint))
        return {
            _key(arguments[0], each, key): convert(arguments[1], item, _join(key, each)) for each, item in value.items()
        }
    if isinstance(origin, type) and issubclass(origin, Sequence):
        require(isinstance(value, list | tuple), key, value, _expected(hint))
        return tuple(convert(arguments[0], item, f"{key}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else decode(hint, value, key)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        require(value in [each.value for each in hint], key, value, _expected(hint))
        return hint(value)
    if hint is Any:
        return value
    if hint in (int, float):
        wanted = numbers.Integral if hint is int else numbers.Real
        require(isinstance(value, wanted) and not isinstance(value, bool), key, value, _expected(hint))
        try:
            return hint(value)
        except OverflowError:  # a whole number that no float reaches
            raise refusal(key, value, "a number within the range of float64") from None
    require(isinstance(value, hint), key, value, _expected(hint))
    return value


def _convert_field(field: dataclasses.Field[Any], hint: Any, value: Any, key: str) -> Any:
    """A field without a repr may hold secrets: the value seen stays out of the message."""
    try:
        return convert(hint, value, key)
    except ConfigError as error:
        if field.repr:
            raise
        head, _, expected = str(error).partition("; expected ")
        raise ConfigError(
            f"{head.partition(': got ')[0]}: got a value that is not shown; expected {expected}"
        ) from None


def _convert_union(choices: Sequence[Any], value: Any, key: str) -> Any:
    if value is None and type(None) in choices:
        return None
    real = [choice for choice in choices if choice is not type(None)]
    if len(real) == 1:  # its own error says more than that none fits
        return convert(real[0], value, key)
    tables = [choice for choice in real if dataclasses.is_dataclass(choice)]
    if len(tables) == 1 and isinstance(value, Mapping):  # no other choice takes a table
        return convert(tables[0], value, key)
    for choice in real:
        try:
            return convert(choice, value, key)
        except ConfigError:
            continue
    raise refusal(key, value, " or ".join(_expected(choice) for choice in choices))


def _key(hint: Any, key: Any, where: str) -> Any:
    """TOML and JSON have only texts for keys: a table by whole numbers is read as one."""
    if hint is not int or isinstance(key, int):
        return key
    require(str(key).lstrip("-").isdecimal(), where, key, "a whole number as key")
    return int(key)


def _expected(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_expected(each) for each in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple and arguments[-1:] != (...,):
        return f"({', '.join(_expected(each) for each in arguments)})"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a table, each value {_expected(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each item {_expected(arguments[0])}"
    if dataclasses.is_dataclass(hint):
        return "a table"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of " + ", ".join(repr(each.value) for each in hint)
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return encode(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _suggest(key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    known = f"the keys allowed here are {', '.join(allowed)}"
    return f"did you mean {near[0]!r}? {known}" if near else known


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
