"""Names of text encodings, as Python knows them."""

from __future__ import annotations

import codecs

__all__ = ["is_encoding", "is_utf8"]


def is_encoding(name: str) -> bool:
    """Returns whether Python knows an encoding of this name."""
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


def is_utf8(name: str) -> bool:
    """Returns whether an encoding is UTF-8, whatever it is called."""
    return codecs.lookup(name).name == "utf-8"
