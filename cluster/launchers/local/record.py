"""What a local job keeps in its folder: description, state, process numbers, logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cluster.launchers.status import JobState, JobStatus, TaskStatus
from cluster.spec import JobSpec
from cluster.spec.job_spec import FILES_MOUNT
from engine.machine.private_files import PRIVATE
from engine.machine.processes import process_mark
from engine.storage.atomic import atomic_file

__all__ = [
    "log_path",
    "member_words",
    "read_runner",
    "read_status",
    "write_runner",
    "write_status",
]

_VERSION = 1


def log_path(folder: Path, role: str, index: int) -> Path:
    """Returns the file with what a member wrote."""
    return folder / "logs" / f"{role}-{index}.log"


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


def read_status(folder: Path) -> tuple[JobStatus, list[str]]:
    """Returns the state of a job and the marks of its members."""
    record: dict[str, Any] = json.loads((folder / "status.json").read_text())
    data = record["status"]
    tasks = tuple(TaskStatus(**{**task, "state": JobState(task["state"])}) for task in data["tasks"])
    return JobStatus(**{**data, "state": JobState(data["state"]), "tasks": tasks}), record["processes"]


def write_runner(folder: Path, pid: int) -> None:
    """Keeps which process looks after a job."""
    with atomic_file(folder / "runner", PRIVATE) as path:
        path.write_text(process_mark(pid))


def read_runner(folder: Path) -> str:
    """Returns the mark of the process that looks after a job; empty where it was never started."""
    try:
        return (folder / "runner").read_text()
    except FileNotFoundError:
        return ""


def member_words(spec: JobSpec, folder: Path) -> list[str]:
    """Returns the command line of each member, with the job's files where they are on this machine."""
    return [word.replace(FILES_MOUNT, str(folder / "files")) for word in spec.words(sys.executable)]
