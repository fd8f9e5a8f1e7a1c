"""Runners by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from engine.core.errors import ConfigError
from transforms.runners.base import Runner

__all__ = ["RUNNERS", "make_runner"]

RUNNERS: dict[str, str] = {
    "local": "transforms.runners.local:LocalRunner",
    "flink": "transforms.runners.beam.flink:FlinkRunner",
    "spark": "transforms.runners.beam.spark:SparkRunner",
    "beam": "transforms.runners.beam.runner:BeamRunner",
}


def make_runner(runner: str | Runner, options: Sequence[str] = ()) -> Runner:
    """Returns a runner.

    Args:
        runner: a name in `RUNNERS`, the name of any Beam runner (e.g. "DirectRunner"), or a runner object.
        options: Beam pipeline options, e.g. "--parallelism=8".

    Raises:
        ConfigError: for an unknown name.
    """
    if not isinstance(runner, str):
        return runner
    name = runner
    if name not in RUNNERS and name.endswith("Runner"):
        options, name = [f"--runner={runner}", *options], "beam"
    if name not in RUNNERS:
        raise ConfigError(f"runner must be one of {sorted(RUNNERS)} or the name of a Beam runner, got {runner!r}")
    module, kind = RUNNERS[name].split(":")
    # Each takes the options alone.
    found: Callable[[Sequence[str]], Runner] = getattr(importlib.import_module(module), kind)
    return found(options)
