"""JSON that somebody else may have written, read so that no text of it is an internal error, and values that JSON can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["RefusedJsonError", "parse_json", "plain_json"]


class RefusedJsonError(ValueError):
    """JSON in form that is not taken: nested too deeply, a number too long or too large, or a key given twice."""


def parse_json(text: str | bytes, unique: bool = False, finite: bool = False) -> Any:
    """Returns the value of a JSON text.

    Args:
        text: the text; bytes are UTF-8.
        unique: refuse a key that an object has twice, of which Python takes the last without a word, and one that is half of a
            surrogate pair. For what people write.
        finite: refuse a number beyond the range of float64, of which Python makes infinity. `Infinity` itself is read.

    Raises:
        RefusedJsonError: it is nested too deeply, holds a number of thousands of digits, or what those two refuse.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_once if unique else None, parse_float=_within_float64 if finite else None
        )
    except RecursionError:
        raise RefusedJsonError("it is nested too deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RefusedJsonError):
        raise
    except ValueError as error:  # of Python's own int
        raise RefusedJsonError(str(error).partition(";")[0]) from None  # what a programmer could do about it follows


def plain_json(value: Any) -> Any:
    """Returns the value as JSON knows it: text keys, no NaN or infinity (None), a text where there is no other way."""
    if isinstance(value, Mapping):
        return {str(key): plain_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(part) for part in value]
    if isinstance(value, set | frozenset):  # whose order differs from one process to the next
        return sorted(map(plain_json, value), key=repr)
    if isinstance(value, bool | int | str | type(None)):
        return value
    if getattr(value, "size", 0) == 1 and hasattr(value, "item"):  # of numpy: whole numbers and truths stay such
        item = value.item()
        if type(item) is not type(value):  # as a long double is
            return plain_json(item)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    for key in found:
        if not key.isascii():
            key.encode()  # half of a surrogate pair is an error here, and not where the key is used
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RefusedJsonError(f"key {key!r} is given twice")
            seen.add(key)
    return found


def _within_float64(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise RefusedJsonError(f"{text[:20]} is beyond the range of numbers")
    return value
