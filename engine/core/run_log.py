"""What a run says: lines on stderr, and one log file a run, each line with its time in UTC, level and step.

`begin` opens the file, `recording` closes it and takes all handlers back, so that one process may make one run after another.
Without a run that records, `tell` prints, as a library's notes are printed, and nothing else here does anything.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from engine.core.redaction import redact
from engine.core.text_encoding import visible

__all__ = [
    "KEPT",
    "begin",
    "in_step",
    "log_path",
    "print_line",
    "print_traceback",
    "record",
    "recording",
    "show_more",
    "show_warnings",
    "tell",
]

KEPT = 20  # log files of earlier runs and this one in a directory
# What the packages log themselves; all other loggers are of libraries, whose news (INFO) are not about the run.
_OWN = ("fullpass", "engine", "transforms", "trainers", "cluster")
_LINE = "%(asctime)s %(levelname)s %(step)s  %(message)s"
_LOG = logging.getLogger("fullpass.run")


class _Lines(logging.Formatter):
    """`2026-11-26T15:36:02.123Z WARNING train  text`, the credentials of URIs hidden; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(redact(super().format(record)))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is at that moment; what `tell` has printed already is left out."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "told", False):
            print_line(self.format(record), sys.stderr)


class _State:
    """What records now."""

    path: Path | None = None
    step = "-"
    handlers: tuple[logging.Handler, ...] = ()


@contextlib.contextmanager
def recording() -> Iterator[None]:
    """Holds what the block opens with `begin` and `show_more`; at its end all of logging is as before."""
    before = (_State.path, _State.step, _State.handlers)
    levels = {name: logging.getLogger(name).level for name in _OWN}
    none: tuple[logging.Handler, ...] = ()
    _State.path, _State.step, _State.handlers = None, "-", none
    try:
        yield
    finally:
        for handler in _State.handlers:
            logging.getLogger().removeHandler(handler)
            handler.close()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        _State.path, _State.step, _State.handlers = before


def show_more() -> None:
    """Shows on stderr what the packages log as information, with times."""
    _add(_Stderr(), logging.INFO, _LINE)


def show_warnings(prefix: str) -> None:
    """Shows on stderr what is logged as a warning or an error, behind a prefix."""
    _add(_Stderr(), logging.WARNING, f"{prefix}%(message)s")


def begin(directory: str | os.PathLike[str]) -> Path | None:
    """Opens a new log file in a local directory and returns its path; the newest 20 of the directory stay.

    Returns:
        None where it cannot be written, which stops no run and is said on stderr.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    path = Path(directory) / f"run-{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{os.getpid()}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "x", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115 closed by the handler
    except OSError as error:
        print_line(f"no log file in {directory}: {error.strerror or error}", sys.stderr)
        return None
    if not _State.handlers:
        # Python's handler of last resort, which shows warnings, works only while there is no other.
        _add(_Stderr(), logging.WARNING, "%(message)s")
    _add(_File(file), logging.INFO, _LINE)
    _State.path = path
    with contextlib.suppress(OSError):
        for old in sorted(path.parent.glob("run-*Z-*.log"))[:-KEPT]:
            old.unlink()
    return path


class _File(logging.StreamHandler[TextIO]):
    """The log file. A full disk ends the log, not the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], OSError):
            return
        super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()
        super().close()


def log_path() -> Path | None:
    """Returns the log file of the run, None where none is open."""
    return _State.path


@contextlib.contextmanager
def in_step(name: str) -> Iterator[None]:
    """Says which step the lines of the block are of, in every thread of this process.

    After an exception the step stays: the line about it, written further out, belongs to where it came from.
    """
    before, _State.step = _State.step, name
    yield
    _State.step = before


def tell(text: str) -> None:
    """Prints a line to stderr, with credentials hidden, and keeps it in the log file."""
    print_line(visible(redact(text)), sys.stderr)
    for line in text.splitlines():
        record(line)


def print_line(text: str, stream: TextIO | None) -> None:
    """Prints a line about work that goes on, whether or not anybody reads it: `fullpass train ... 2>&1 | head` trains to its end.

    Args:
        text: the line.
        stream: standard output or error as it is at that moment; None where it is closed.
    """
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # What is buffered would be tried again at the next line and at the end of the process, and fail again.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    except (OSError, ValueError):  # a full disk below a file, a closed stream
        pass


def print_traceback() -> None:
    """Prints the traceback of the exception that is handled to stderr.

    Of the libraries' exceptions too, from which ours came: they show URIs as they are.
    """
    print_line(visible(redact(traceback.format_exc())).rstrip("\n"), sys.stderr)


def record(text: str, level: int = logging.INFO, error: BaseException | None = None) -> None:
    """Keeps a line in the log file alone: one that is shown in another way.

    Args:
        text: the line.
        level: of `logging`.
        error: its traceback follows.
    """
    if _State.path is not None:
        _LOG.log(level, text.strip(), exc_info=error, extra={"told": True})


def _add(handler: logging.Handler, level: int, form: str) -> None:
    for name in _OWN:
        logging.getLogger(name).setLevel(logging.INFO)
    handler.setFormatter(_Lines(form))
    handler.setLevel(level)
    handler.addFilter(_with_step)
    logging.getLogger().addHandler(handler)
    _State.handlers = (*_State.handlers, handler)


def _with_step(record: logging.LogRecord) -> bool:
    record.step = _State.step
    return True
