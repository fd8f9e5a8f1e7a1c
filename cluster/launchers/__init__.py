"""Where jobs run: this machine, Ray, Kubernetes."""

from cluster.launchers.base import JobHandle, JobNotFound, Launcher, LauncherError
from cluster.launchers.registry import LAUNCHERS, launcher
from cluster.launchers.status import JobState, JobStatus, LogLine, TaskStatus

__all__ = [
    "LAUNCHERS",
    "JobHandle",
    "JobNotFound",
    "JobState",
    "JobStatus",
    "Launcher",
    "LauncherError",
    "LogLine",
    "TaskStatus",
    "launcher",
]
