"""This machine: a runner process a job, which outlives the command that started it."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.launchers.base import JobHandle, JobNotFound, Launcher, LauncherError
from cluster.launchers.local.log_files import lines_of
from cluster.launchers.local.record import (
    log_path,
    member_words,
    members_of,
    read_runner,
    read_status,
    write_runner,
    write_status,
)
from cluster.launchers.log_query import LogQuery
from cluster.launchers.state import state_directory
from cluster.launchers.status import JobState, JobStatus, LogLine, TaskStatus
from cluster.spec import JobSpec
from engine.core.errors import ConfigError, DataError
from engine.core.own_packages import module_words
from engine.machine.clock import utc_now
from engine.machine.private_files import private
from engine.machine.processes import alive, kill_tree
from engine.storage.uris import require_local

__all__ = ["LocalLauncher"]

_POLL_S = 0.2


class LocalLauncher(Launcher):
    """Runs jobs as processes of this machine; image, resources and where to schedule them are not used.

    Args:
        directory: where jobs keep state and logs; where None, below the user's state directory.
    """

    name = "local"

    def __init__(self, directory: str | None = None) -> None:
        self._jobs = require_local("directory", directory) if directory else state_directory() / "jobs"

    def render(self, spec: JobSpec) -> builtins.list[dict[str, Any]]:
        words = member_words(spec, self._jobs / spec.name)
        return [
            {
                "member": f"{role}-{index}",
                "command": words,
                "env": dict(spec.env),
                "log": str(self._log(spec.name, role, index)),
            }
            for role, index in spec.members()
        ]

    def submit(self, spec: JobSpec, *, dry_run: bool = False) -> JobHandle:
        self._check(spec)
        folder = self._jobs / spec.name
        if folder.exists():
            status = self.status(spec.name)
            if not status.state.finished:
                raise LauncherError(f"job {spec.name!r} is {status.state.value}; cancel it first, or take another name")
        if dry_run:
            return JobHandle(self, spec.name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        (folder / "files").mkdir(mode=0o700)
        with open(folder / "job.json", "w", opener=private) as file:
            file.write(spec.to_json())
        for name, text in spec.files.items():
            with open(folder / "files" / name, "w", opener=private) as file:
                file.write(text)
        tasks = tuple(TaskStatus(role=role, index=index, state=JobState.PENDING) for role, index in spec.members())
        status = JobStatus(name=spec.name, launcher=self.name, state=JobState.PENDING, tasks=tasks, submitted=utc_now())
        write_status(folder, status, [])
        with open(folder / "runner.log", "wb", opener=private) as log:
            runner = subprocess.Popen(
                module_words("cluster.launchers.local.runner", str(folder)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        write_runner(folder, runner.pid)
        _children.append(runner)
        return JobHandle(self, spec.name)

    def status(self, name: str) -> JobStatus:
        status = self._read(name)[0]
        if not status.state.finished and not self._looked_after(name):
            status = self._read(name)[0]  # it may have ended between the two looks
            if not status.state.finished:
                tail = _tail(self._folder(name) / "runner.log")
                message = (
                    f"its runner is gone: {tail}"
                    if tail
                    else "its runner was killed; cancel the job to end its processes"
                )
                return dataclasses.replace(status, state=JobState.FAILED, message=message)
        return status

    def lines(self, name: str, query: LogQuery) -> Iterator[LogLine]:
        logs = {
            (role, index): self._log(name, role, index) for role, index in query.members(name, self.status(name).tasks)
        }
        return lines_of(logs, query, lambda: self._running(name))

    def cancel(self, name: str) -> None:
        folder = self._folder(name)
        with contextlib.suppress(DataError):  # a damaged state is what a job is cancelled for, too
            self._read(name)
        runner = read_runner(folder)
        if alive(runner):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(runner.partition(":")[0]), signal.SIGTERM)
            deadline = time.monotonic() + _grace_s(folder) + 10
            while self._looked_after(name) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        try:
            marks = self._read(name)[1]
        except DataError:
            marks = members_of(folder)
        for mark in (runner, *marks):
            if alive(mark):
                kill_tree(int(mark.partition(":")[0]))
        shutil.rmtree(folder, ignore_errors=True)

    def list(self) -> builtins.list[JobStatus]:
        found = [self._listed(path.parent.name) for path in self._jobs.glob("*/status.json")]
        return sorted(found, key=lambda status: status.submitted, reverse=True)

    def _listed(self, name: str) -> JobStatus:
        """The state of a job among others, which one that is damaged must not hide."""
        try:
            return self.status(name)
        except DataError as error:
            return JobStatus(name=name, launcher=self.name, state=JobState.FAILED, message=str(error))

    def _folder(self, name: str) -> Path:
        return self._jobs / os.path.basename(name)

    def _looked_after(self, name: str) -> bool:
        for child in _children:  # those that have ended are zombies until they are asked
            child.poll()
        return alive(read_runner(self._folder(name)))

    def _read(self, name: str) -> tuple[JobStatus, builtins.list[str]]:
        try:
            return read_status(self._folder(name))
        except FileNotFoundError:
            raise JobNotFound(f"no job {name!r} on this machine (looked in {self._jobs})") from None

    def _log(self, name: str, role: str, index: int) -> Path:
        return log_path(self._folder(name), role, index)

    def _check(self, spec: JobSpec) -> None:
        missing = [item.name for item in spec.secrets if item.name not in os.environ]
        if missing:
            raise ConfigError(f"secrets: on this machine set {', '.join(missing)} in the environment")
        for volume in spec.volumes:
            if volume.claim or (volume.host_path and volume.host_path.rstrip("/") != volume.mount_path.rstrip("/")):
                raise ConfigError(
                    f"volume at {volume.mount_path}: a local job sees this machine's paths as they are; leave it out"
                )

    def _running(self, name: str) -> bool:
        try:
            return not self.status(name).state.finished
        except JobNotFound:
            return False


_children: list[subprocess.Popen[bytes]] = []  # runners that this process started


def _grace_s(folder: Path) -> float:
    try:
        return JobSpec.from_json((folder / "job.json").read_text(encoding="utf-8")).grace_s
    except (OSError, ValueError):
        return JobSpec.grace_s  # the description is damaged: as long as one has that does not say


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace").strip()[-500:]
    except OSError:
        return ""
