"""Where a finished run is recorded: `mlflow:URI` or `mlmd:FILE`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from engine.core.errors import ConfigError

__all__ = ["TARGETS", "check_target", "track"]

TARGETS = {
    "mlflow": (
        "mlflow",
        "a tracking server's URI, or nothing for MLFLOW_TRACKING_URI",
        "pip install 'fullpass[mlflow]'",
    ),
    "mlmd": ("ml_metadata", "an SQLite file", "it comes with TFX: pip install 'fullpass[tfx]'"),
}


def check_target(target: str) -> tuple[str, str]:
    """Returns kind and place of a target.

    Raises:
        ConfigError: an unknown kind, no place, or a library that is not installed.
    """
    kind, _, place = target.partition(":")
    if kind not in TARGETS:
        raise ConfigError(f"track: got {target!r}; expected mlflow:URI or mlmd:FILE")
    package, what, how = TARGETS[kind]
    if not place and kind == "mlmd":
        raise ConfigError(f"track: got {target!r}; expected mlmd: and {what}")
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"track {target}: {package} is not installed: {how}")
    return kind, place


def track(
    work_dir: str | os.PathLike[str],
    target: str,
    *,
    name: str | None = None,
    files: Sequence[str | os.PathLike[str]] = (),
    finished: bool = False,
) -> str:
    """Records a finished run and returns a line that says where.

    The same results are recorded once: a second call finds them.

    Args:
        work_dir: working directory of the pipeline.
        target: "mlflow:URI" or "mlmd:FILE".
        name: of the pipeline; None: the directory's.
        files: more files to keep with it, such as the report.
        finished: it has just finished: that another run has begun there since then is no hindrance.

    Raises:
        ConfigError: the target cannot be used, no run is there, or one that is not finished.
    """
    from cluster.report.runs import open_run

    kind, place = check_target(target)
    run = open_run(work_dir, finished=finished)
    if run.unfinished is not None:
        raise ConfigError(f"track {target}: {work_dir} is not finished. {run.unfinished.text}. Record it when it is")
    if kind == "mlflow":
        from cluster.tracking.mlflow_run import record_mlflow

        return record_mlflow(run, place or None, name or run.name, [Path(file) for file in files])
    from cluster.tracking.ml_metadata import record_ml_metadata

    return record_ml_metadata(run, Path(place), name or run.name)
