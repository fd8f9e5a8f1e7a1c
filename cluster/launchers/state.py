"""Where this machine remembers jobs: local ones whole, others by launcher and options."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.launchers.base import JobNotFound
from engine.core.configs import decode_json
from engine.core.environment import STATE_DIR
from engine.core.errors import DataError
from engine.machine.private_files import PRIVATE
from engine.storage.atomic import atomic_file
from engine.storage.uris import require_local

__all__ = ["forget", "recall", "remember", "remembered", "state_directory"]

_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Submitted:
    launcher: str
    options: Mapping[str, str]


def state_directory() -> Path:
    """Returns $FULLPASS_STATE_DIR, else fullpass below $XDG_STATE_HOME or ~/.local/state."""
    if own := STATE_DIR.read():
        return require_local(STATE_DIR.name, own)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fullpass"


def remember(name: str, launcher: str, options: dict[str, Any]) -> None:
    """Keeps with which launcher a job was submitted, so that `fullpass logs NAME` needs no more words."""
    record = {"version": _VERSION, "launcher": launcher, "options": {k: v for k, v in options.items() if v is not None}}
    with atomic_file(_path(name), PRIVATE) as path:
        path.write_text(json.dumps(record))


def recall(name: str) -> tuple[str, dict[str, Any]]:
    """Returns (launcher, options) of a job that was submitted from this machine.

    Raises:
        JobNotFound: none of that name was.
        DataError: what was kept of it is damaged.
    """
    path = _path(name)
    try:
        record = decode_json(_Submitted, path.read_text(encoding="utf-8"), "it", _VERSION)
    except FileNotFoundError:
        known = ", ".join(remembered()) or "none"
        raise JobNotFound(
            f"no job {name!r} was submitted from here (known: {known}); one from elsewhere needs --launcher and --kind"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"does not say where a job was submitted ({error}); delete it, and give --launcher and what belongs to it",
            path=str(path),
        ) from error
    return record.launcher, dict(record.options)


def forget(name: str) -> None:
    """Removes what `remember` kept."""
    _path(name).unlink(missing_ok=True)


def remembered() -> list[str]:
    """Returns the names of the jobs that were submitted from this machine."""
    return sorted(path.stem for path in (state_directory() / "submitted").glob("*.json"))


def _path(name: str) -> Path:
    return state_directory() / "submitted" / f"{os.path.basename(name)}.json"
