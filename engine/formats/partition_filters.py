"""Filters on the keys of directories (`year=2024/`): files that do not pass are no part of the data, and are never opened."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from engine.core.errors import ConfigError, DataError
from engine.formats.partitions import NO_LEVELS, all_keys, partition_fields

__all__ = ["Filter", "keep_files", "parse_filter"]

Filter = tuple[str, str, Any] | str

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, allowed: value in allowed,
    "not in": lambda value, allowed: value not in allowed,
}
_TEXT = re.compile(r"\s*([^=!<>\s]+)\s*(==|!=|<=|>=|=|<|>|\bnot\s+in\b|\bin\b)\s*(.*?)\s*", re.DOTALL)


def parse_filter(text: str) -> tuple[str, str, Any]:
    """Returns the filter (key, operator, value) of a text such as "year>=2024", "region=eu" or "day in 1,2,3".

    Raises:
        ConfigError: it is not one.
    """
    found = _TEXT.fullmatch(text)
    if not found or not found[3]:
        raise ConfigError(
            f"filter {text!r}: expected KEY, one of {', '.join(_COMPARE)}, and a value, such as year>=2024 or 'day in 1,2'"
        )
    sign = " ".join(found[2].split())
    words = [word.strip() for word in found[3].split(",")]
    return found[1], sign, words if sign.endswith("in") else found[3]


def keep_files(paths: Sequence[str], filters: Sequence[Filter], levels: Mapping[str, int] = NO_LEVELS) -> list[str]:
    """Returns the files whose directories pass every filter; the others are never opened.

    Args:
        paths: files.
        filters: (key, operator, value) as pyarrow takes them, or a text for `parse_filter`; operators are =, ==, !=, <, <=, >, >=,
            in, not in. A missing value passes none.
        levels: of files, see `engine.formats.partitions.partition_keys`.

    Raises:
        ConfigError: a key that no directory holds, an unknown operator, or a value of another type than the key's.
        DataError: no file passes.
    """
    fields = {field.name: field for field in partition_fields(paths, levels)}
    conditions = [_checked(each, fields) for each in filters]
    kept = []
    for path in paths:
        keys = all_keys(path, levels.get(path))
        if all(_passes(keys.get(name), fields[name].type, sign, wanted) for name, sign, wanted in conditions):
            kept.append(path)
    if not kept:
        raise DataError(f"none of {len(paths)} files passes the filters {list(filters)}", path=paths[0])
    return kept


def _checked(given: Filter, fields: dict[str, pa.Field]) -> tuple[str, str, Any]:
    """The filter with its value as the key's type has it."""
    if isinstance(given, str):
        given = parse_filter(given)
    if len(given) != 3:
        raise ConfigError(f"filter {given!r}: expected (key, operator, value), such as ('year', '>=', 2024)")
    name, sign, wanted = given
    if name not in fields:
        raise ConfigError(
            f"filter on {name!r}: files are chosen by the keys of their directories (key=value/), which are "
            f"{', '.join(fields) or 'none here'}"
        )
    if sign not in _COMPARE:
        raise ConfigError(f"filter on {name!r} has operator {sign!r}; it takes {', '.join(_COMPARE)}")
    kind = fields[name].type
    if sign not in ("in", "not in"):
        return name, sign, _value(name, wanted, kind)
    if not isinstance(wanted, list | tuple | set | frozenset):  # a text has letters, which are no values
        raise ConfigError(f"filter on {name!r} with {sign!r} has {wanted!r}; it takes a list of values")
    return name, sign, [_value(name, each, kind) for each in wanted]


def _value(name: str, wanted: Any, kind: pa.DataType) -> Any:
    if kind == pa.string():
        if isinstance(wanted, str):
            return wanted
    elif isinstance(wanted, int) and not isinstance(wanted, bool):
        return wanted
    elif isinstance(wanted, str):
        try:
            return int(wanted)
        except ValueError:
            pass
    raise ConfigError(f"filter on {name!r} compares with {wanted!r}; the directories hold {kind}")


def _passes(text: str | None, kind: pa.DataType, sign: str, wanted: Any) -> bool:
    return text is not None and _COMPARE[sign](pa.scalar(text).cast(kind).as_py(), wanted)
