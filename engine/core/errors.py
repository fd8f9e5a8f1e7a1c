"""Errors that a user can act on: each says what was wrong, where, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.core import exit_codes
from engine.core.redaction import redact
from engine.core.text_encoding import visible

__all__ = ["ConfigError", "DataError", "FullpassError", "NoRoom", "NotMet", "column_not_found", "listed"]

_LISTED = 20


class FullpassError(Exception):
    """Base of every error that the command line shows as one line (a traceback only with `--debug`).

    Its text shows no credentials of URIs, and characters that order a terminal about as code points: errors end up in logs, in
    a job's state, in a cluster's events, and names of files and columns may be anybody's.

    Attributes:
        exit_code: with which it ends a command or a worker; one of `exit_codes.FINAL` unless starting again may help.
    """

    exit_code: int = exit_codes.WRONG_INPUT

    def __str__(self) -> str:
        return visible(redact(super().__str__()))


class DataError(FullpassError):
    """Bad data, located.

    Attributes:
        path: file or URI that holds the fault, or None.
        record: index of the record within that file, from 0, or None where it is unknown.
        offset_bytes: offset in that file (for compressed files: in the uncompressed stream), or None.
    """

    def __init__(
        self, message: str, *, path: str | None = None, record: int | None = None, offset_bytes: int | None = None
    ) -> None:
        self.message = message
        self.path = path
        self.record = record
        self.offset_bytes = offset_bytes
        super().__init__(message)

    def __str__(self) -> str:
        where = [str(self.path)] if self.path is not None else []
        where += [f"record {self.record}"] if self.record is not None else []
        where += [f"byte {self.offset_bytes}"] if self.offset_bytes is not None else []
        return visible(redact(f"{', '.join(where)}: {self.message}" if where else self.message))

    def __reduce__(self) -> tuple[Any, ...]:  # crosses process boundaries with its location
        return _rebuild, (type(self), self.message, self.path, self.record, self.offset_bytes)


def _rebuild(
    cls: type[DataError], message: str, path: str | None, record: int | None, offset_bytes: int | None
) -> DataError:
    return cls(message, path=path, record=record, offset_bytes=offset_bytes)


class NoRoom(DataError):
    """A full disk or quota, with the path that was being written: no fault of the input, so what was restarted may succeed."""

    exit_code = exit_codes.FAILED


class ConfigError(FullpassError, ValueError):
    """A setting that cannot work: the message names the key, the value seen and the values allowed."""


class NotMet(FullpassError):
    """The work was done and the answer is no: exit code `NOT_MET`, which no repetition changes."""

    exit_code = exit_codes.NOT_MET


def column_not_found(missing: Iterable[str], available: Iterable[str]) -> str:
    """Returns the message for columns that were asked for and are not there: "column 'x' not found; available columns: a, b"."""
    names = [repr(name) for name in dict.fromkeys(missing)]
    return f"column{'s' if len(names) > 1 else ''} {', '.join(names)} not found; available columns: {listed(available)}"


def listed(names: Iterable[str]) -> str:
    """Returns names for an error, as many of them as a reader can take in: "a, b, c and 4,997 more"."""
    every = list(names)
    more = f" and {len(every) - _LISTED:,} more" if len(every) > _LISTED else ""
    return ", ".join(every[:_LISTED]) + more
