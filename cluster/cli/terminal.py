"""Standard output and error as any terminal can show them, whatever names and values of data hold."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from engine.core.text_encoding import visible

__all__ = ["harmless_terminal", "print_anywhere"]


def print_anywhere() -> None:
    """Lets a terminal without a letter (LC_ALL=C, an ASCII log) show its code point: a name must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def harmless_terminal() -> Iterator[None]:
    """Shows control characters of names and values as code points: on a terminal they would move, hide or answer things.

    What goes to a file or a program stays as it is. Errors and notes, on standard error, show none wherever they go.
    """
    if sys.stdout is None or not sys.stdout.isatty():
        yield
        return
    with contextlib.redirect_stdout(cast("TextIO", _Visible(sys.stdout))):
        yield


class _Visible:
    """A stream of text that is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what can be seen of the text."""
        self._stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
