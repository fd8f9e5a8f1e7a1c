"""The same steps as one job: on this machine, on Ray, on Kubernetes; the pipeline runner and the command line."""

import cluster._found_engine  # noqa: F401  first: what follows imports of engine
from cluster.launchers import (
    JobHandle,
    JobNotFound,
    JobState,
    JobStatus,
    Launcher,
    LauncherError,
    LogLine,
    TaskStatus,
    launcher,
)
from cluster.spec import JobSpec, Resources, SecretEnv, Toleration, Volume

__all__ = [
    "JobHandle",
    "JobNotFound",
    "JobSpec",
    "JobState",
    "JobStatus",
    "Launcher",
    "LauncherError",
    "LogLine",
    "Resources",
    "SecretEnv",
    "TaskStatus",
    "Toleration",
    "Volume",
    "launcher",
]
