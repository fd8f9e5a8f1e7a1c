"""JSON that somebody else may have written, read so that no text of it is an internal error."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["parse_json"]


def parse_json(text: str | bytes, unique: bool = False) -> Any:
    """Returns the value of a JSON text.

    Args:
        text: the text; bytes are UTF-8.
        unique: refuse a key that an object has twice, of which Python takes the last without a word. For what people write.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_once if unique else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} is given twice")
            seen.add(key)
    return found
