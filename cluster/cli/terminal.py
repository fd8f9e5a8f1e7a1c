"""Standard output and error as any terminal can show them, whatever names and values of data hold."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import os
import stat
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, TextIO, cast

from engine.core.own_packages import PACKAGES
from engine.core.text_encoding import visible

__all__ = ["harmless_terminal", "is_unread", "leave_unread", "print_anywhere"]


def print_anywhere() -> None:
    """Lets a terminal without a letter (LC_ALL=C, an ASCII log) show its code point: a name must not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_unread(error: BaseException) -> bool:
    """Returns whether writing standard output met this error, inside of `harmless_terminal`: nobody reads it any more.

    A `BrokenPipeError` may be of another pipe, a worker's, at the very moment when nobody reads standard output either.
    """
    return _Standard.output is not None and _Standard.output.broken is error


def leave_unread() -> None:
    """Lets what is buffered for standard output go nowhere, where `is_unread`: it would be tried again at the end of the process."""
    if _Standard.output is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _Standard.output.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def harmless_terminal() -> Iterator[None]:
    """Shows control characters of names and values as code points: on a terminal they would move, hide or answer things.

    What goes to a file or a program stays as it is, and so does what a user's code and its libraries write, colours and bars of
    their own. Errors and notes, on standard error, show none wherever they go.
    """
    if sys.stdout is None or not (sys.stdout.isatty() or _is_pipe(sys.stdout)):
        yield
        return
    stream = _Visible(sys.stdout) if sys.stdout.isatty() else _Piped(sys.stdout)
    before, _Standard.output = _Standard.output, stream if isinstance(stream, _Piped) else None
    try:
        with contextlib.redirect_stdout(cast("TextIO", stream)):
            yield
    finally:
        _Standard.output = before


def _is_pipe(stream: TextIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or nothing of the system's
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class _Piped:
    """A stream of text, or the one of bytes below it, that a program reads, with the error that a write met when it reads no more."""

    broken: BaseException | None = None

    def __init__(self, stream: TextIO | BinaryIO, text: _Piped | None = None) -> None:
        self._stream: Any = stream
        self._text = self if text is None else text

    @functools.cached_property
    def buffer(self) -> _Piped:
        """What bytes are written to."""
        return _Piped(self._stream.buffer, self._text)

    def write(self, text: str | bytes) -> int:
        """Writes a text as it is."""
        return cast("int", self._told(self._stream.write, text))

    def writelines(self, lines: Iterable[str | bytes]) -> None:
        """Writes texts as they are."""
        self._told(self._stream.writelines, lines)

    def flush(self) -> None:
        """Writes what is buffered."""
        self._told(self._stream.flush)

    def _told(self, method: Callable[..., Any], *values: Any) -> Any:
        try:
            return method(*values)
        except BrokenPipeError as error:
            self._text.broken = error
            raise

    def __enter__(self) -> _Piped:
        return self

    def __exit__(self, *_: object) -> None:
        self._told(self._stream.close)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Standard:
    """Standard output of the command that runs, whatever a library has put in the place of `sys.stdout` meanwhile."""

    output: _Piped | None = None


class _Visible:
    """A stream of text that is a terminal; what Fullpass itself writes there is made visible."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text, of ours what can be seen of it."""
        self._stream.write(visible(text) if _is_ours(cast("types.FrameType", inspect.currentframe()).f_back) else text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes texts as `write` does."""
        ours = _is_ours(cast("types.FrameType", inspect.currentframe()).f_back)
        self._stream.writelines(map(visible, lines) if ours else lines)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_ours(caller: types.FrameType | None) -> bool:
    """Returns whether code of Fullpass writes: `print`, which is no Python code, counts as the code that calls it."""
    return caller is None or str(caller.f_globals.get("__name__")).partition(".")[0] in PACKAGES
