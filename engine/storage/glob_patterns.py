"""Globs as regular expressions: the same pattern for local paths and objects of a store."""

from __future__ import annotations

import re

__all__ = ["glob_regex"]


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Returns what matches the paths of a glob in which `*` and `?` stop at a slash and `**/` does not."""
    out: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            out.append("(?:[^/]+/)*")
            position += 3
            continue
        char = pattern[position]
        close = pattern.find("]", position + 2) if char == "[" else -1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif close > 0:
            inside = pattern[position + 1 : close]
            out.append("[" + ("^" + inside[1:] if inside.startswith("!") else inside).replace("\\", "\\\\") + "]")
            position = close
        else:
            out.append(re.escape(char))
        position += 1
    return re.compile("".join(out), re.DOTALL)
