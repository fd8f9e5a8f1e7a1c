"""Text: names of its encodings, as Python knows them, and how text of data is shown, in a line and in Markdown."""

from __future__ import annotations

import codecs
import json
import re

__all__ = ["as_text", "in_markdown", "in_quotes_if_alike", "is_encoding", "is_utf8", "one_line", "visible"]

# Surrogates stand for bytes of a path that are no text, and cannot be written.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_ESCAPED_BYTE = re.compile(r"\\x[89a-f][0-9a-f]")  # as "backslashreplace" writes bytes that are no UTF-8
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~!&@])")
_AS_HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}


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


def as_text(value: bytes | str) -> str:
    """Returns bytes that may be no UTF-8 as text, such bytes as escapes: of different values different texts.

    Where a value has such bytes, or reads like one, its backslashes are doubled, as in programs.
    """
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    if not _ESCAPED_BYTE.search(text):
        return text
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return data.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def in_quotes_if_alike(text: str, taken: str, alike: bool) -> str:
    """Returns a value as a part of a name; in quotes where it would read as another.

    Args:
        text: of the value.
        taken: what stands for a value that is missing.
        alike: it reads as another for a reason of the caller's, as several values that are joined, say.
    """
    alike = alike or text == taken or text[:1] == text[-1:] == '"'
    return json.dumps(text, ensure_ascii=False) if alike else text


def visible(text: str) -> str:
    """Returns text with characters that would turn or hide what stands beside them as their code points."""
    return _UNSEEN.sub(
        lambda match: f"\\u{ord(match[0]):04x}" if match[0] < "\U00010000" else f"\\U{ord(match[0]):08x}", text
    )


def one_line(text: str) -> str:
    """Returns text as `visible` does, with tabs and line ends as they are written in programs."""
    return visible(text).replace("\t", "\\t").replace("\n", "\\n")


def in_markdown(text: str, longest: int = 200) -> str:
    """Returns text that GitHub's Markdown and HTML show as it is, in a table, too.

    Args:
        text: of data, any characters.
        longest: characters; what is longer is cut.
    """
    text = visible(" ".join(text.split()))
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return _SPECIAL.sub(lambda match: _AS_HTML.get(match[1], f"\\{match[1]}"), text)
