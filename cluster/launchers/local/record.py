"""What a local job keeps in its folder: description, state, process numbers, logs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path

from cluster.launchers.status import JobStatus
from cluster.spec import JobSpec
from cluster.spec.job_spec import FILES_MOUNT, ROLES
from engine.core import environment
from engine.core.configs import decode_json, require
from engine.core.errors import DataError
from engine.machine.private_files import PRIVATE
from engine.machine.processes import process_mark
from engine.storage.atomic import atomic_file

__all__ = [
    "log_path",
    "member_words",
    "members_of",
    "read_runner",
    "read_status",
    "secret_path",
    "write_runner",
    "write_status",
]

_VERSION = 1


def log_path(folder: Path, role: str, index: int) -> Path:
    """Returns the file with what a member wrote."""
    return folder / "logs" / f"{role}-{index}.log"


def secret_path(folder: Path) -> Path:
    """Returns the file with the secret that members of a job know each other by."""
    return folder / "group-secret"


def write_status(folder: Path, status: JobStatus, processes: list[str]) -> None:
    """Replaces the state of a job.

    Args:
        folder: of the job.
        status: of the job.
        processes: marks of its members.
    """
    record = {"version": _VERSION, "status": status.to_dict(), "processes": processes}
    with atomic_file(folder / "status.json", PRIVATE) as path:
        path.write_text(json.dumps(record, indent=1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Record:
    status: JobStatus
    processes: tuple[str, ...]

    def __post_init__(self) -> None:
        for task in self.status.tasks:  # the files of its logs are named by them
            require(task.role in ROLES, "role", task.role, f"one of {', '.join(ROLES)}")
            require(task.index >= 0, "index", task.index, "at least 0")


def read_status(folder: Path) -> tuple[JobStatus, list[str]]:
    """Returns the state of a job and the marks of its members.

    Raises:
        FileNotFoundError: there is no such job.
        DataError: what is there is not a job's state.
    """
    path = folder / "status.json"
    try:
        record = decode_json(_Record, path.read_text(encoding="utf-8"), "it", _VERSION)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # of bytes that are no text, too
        raise DataError(
            f"is not the state of a job ({error}); `fullpass cancel {folder.name}` ends what runs of it and removes it",
            path=str(path),
        ) from error
    return record.status, list(record.processes)


def write_runner(folder: Path, pid: int) -> None:
    """Keeps which process looks after a job."""
    with atomic_file(folder / "runner", PRIVATE) as path:
        path.write_text(process_mark(pid))


def read_runner(folder: Path) -> str:
    """Returns the mark of the process that looks after a job; empty where it was never started, or the file is damaged."""
    try:
        return (folder / "runner").read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def members_of(folder: Path) -> list[str]:
    """Returns the marks of a job's members that run, by the secret's file in their environment: where its state is damaged."""
    import psutil

    secret, found = os.path.realpath(secret_path(folder)), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # of another user, or it ended
            theirs = process.environ().get(environment.GROUP_SECRET_FILE.name)
            if theirs and os.path.realpath(theirs) == secret:
                found.append(process_mark(process.pid))
    return found


def member_words(spec: JobSpec, folder: Path) -> list[str]:
    """Returns the command line of each member, with the job's files where they are on this machine."""
    return [word.replace(FILES_MOUNT, str(folder / "files")) for word in spec.words(sys.executable)]
