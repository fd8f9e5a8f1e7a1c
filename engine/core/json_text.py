"""JSON that somebody else may have written, read so that no text of it is an internal error."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["RefusedJsonError", "parse_json"]


class RefusedJsonError(ValueError):
    """JSON in form that is not taken: nested too deeply, a number too long, or a key given twice."""


def parse_json(text: str | bytes, unique: bool = False) -> Any:
    """Returns the value of a JSON text.

    Args:
        text: the text; bytes are UTF-8.
        unique: refuse a key that an object has twice, of which Python takes the last without a word. For what people write.

    Raises:
        RefusedJsonError: it is nested too deeply, holds a number of thousands of digits, or a key twice.
        ValueError: it is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_once if unique else None)
    except RecursionError:
        raise RefusedJsonError("it is nested too deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RefusedJsonError):
        raise
    except ValueError as error:  # of Python's own int
        raise RefusedJsonError(str(error)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RefusedJsonError(f"key {key!r} is given twice")
            seen.add(key)
    return found
