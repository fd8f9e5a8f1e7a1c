"""Passes on any Beam runner: a handful of stages, whatever the number of analyzers.

    Create(splits) → Reshuffle → read and accumulate → group by key → merge

The reshuffle spreads the splits over all workers; Beam's own sources would read all files in one task on Flink and Spark.
Many small parts share a key, so that the number of elements does not grow with the number of analyzers. Merged parts go to
files in a directory that driver and workers share, and the driver maps them into memory.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from engine.core.errors import ConfigError, FullpassError
from engine.core.json_text import parse_json
from engine.core.progress import Progress
from engine.machine.processes import processors
from engine.storage.uris import require_local
from transforms.passes.protocols import AccumulatePass, WritePass
from transforms.passes.shards import ShardResult, ShardTask
from transforms.runners.base import BatchReader, PassResult
from transforms.runners.beam.stages import AccumulateSplit, MergeParts, WriteShard, noted_error, rows_done
from transforms.runners.exchange import read_parts

__all__ = ["BeamRunner", "RunnerError"]

_POLL_S = 0.5
_Found = TypeVar("_Found")
_log = logging.getLogger(__name__)


def option_name(option: str) -> str:
    """Returns KEY of an option --KEY=VALUE or --KEY."""
    return option.lstrip("-").partition("=")[0]


def option_value(options: Sequence[str], name: str) -> str | None:
    """Returns the value of the last option of that name, or None."""
    return next((each.partition("=")[2] for each in reversed(options) if option_name(each) == name), None)


class RunnerError(FullpassError):
    """A pass that failed on its runner."""


class BeamRunner:
    """Runs passes as Beam pipelines.

    Args:
        options: Beam pipeline options, e.g. "--runner=DirectRunner"; "--work_dir=DIR" names a directory that driver and
            workers share (default: a temporary one); "--attempts=N" says how often a pass is run before it fails with
            lost workers (default: 3).
    """

    name = "beam"

    def __init__(self, options: Sequence[str] = ()) -> None:
        for each in options:
            if not each.startswith("--"):
                raise ConfigError(f"options of runner {self.name!r} look like --key=value, got {each!r}")
        work_dir = option_value(options, "work_dir")
        self.work_dir = None if work_dir is None else str(require_local("--work_dir", work_dir))
        attempts = option_value(options, "attempts") or "3"
        if not attempts.isdecimal() or int(attempts) < 1:
            raise ConfigError(f"--attempts must be a number from 1, got {attempts!r}")
        self.attempts = int(attempts)
        kept = [each for each in options if option_name(each) not in ("attempts", "work_dir")]
        given = {option_name(each) for each in kept}
        self.options = [*(each for each in self.default_options(kept) if option_name(each) not in given), *kept]

    def default_options(self, options: Sequence[str]) -> list[str]:
        """Returns options for what the user left out.

        Args:
            options: the user's.
        """
        return []

    @property
    def num_workers(self) -> int:
        """Tasks that run at once, as far as the options say."""
        for name in ("parallelism", "direct_num_workers", "num_workers", "max_num_workers"):
            value = option_value(self.options, name)
            if value and value.isdecimal() and int(value) > 0:
                return int(value)
        return processors()

    def pipeline_options(self) -> PipelineOptions:
        """Returns the options of a pipeline."""
        return PipelineOptions(self.options)

    def pipeline_runner(self) -> Any:
        """Returns the runner object of a pipeline, or None for the one that the options name."""
        if option_value(self.options, "runner") != "PortableRunner":
            return None
        from transforms.runners.beam.loopback_workers import LoopbackWorkers

        return LoopbackWorkers()

    def after_failure(self) -> None:
        """Lets go of what a failed pass may have left unusable to the next attempt."""

    def accumulate(
        self, plan: AccumulatePass, reader: BatchReader, splits: Sequence[Any], progress: Progress
    ) -> PassResult:
        """Returns the merged parts of a pass over all splits."""

        def build(pipeline: beam.Pipeline, directory: str) -> None:
            _ = (
                pipeline
                | "Splits" >> beam.Create(list(enumerate(splits)), reshuffle=False)
                | "Spread" >> beam.Reshuffle()
                | "Accumulate" >> beam.ParDo(AccumulateSplit(plan, reader, directory))
                | "Group" >> beam.GroupByKey()
                | "Merge" >> beam.ParDo(MergeParts(plan, directory))
            )

        parts, rows = self._run(build, read_parts, progress)
        return PassResult(parts=parts, split_rows=rows)

    def transform(
        self, plan: WritePass, reader: BatchReader, tasks: Sequence[ShardTask], progress: Progress
    ) -> list[ShardResult]:
        """Runs each task and returns the results in the order of tasks."""

        def build(pipeline: beam.Pipeline, directory: str) -> None:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(tasks), reshuffle=False)
                | "Spread" >> beam.Reshuffle()
                | "Transform" >> beam.ParDo(WriteShard(plan, reader, directory))
            )

        return self._run(build, lambda directory: [_result(directory, task) for task in tasks], progress)

    def _run(
        self, build: Callable[[beam.Pipeline, str], None], read: Callable[[str], _Found], progress: Progress
    ) -> _Found:
        """Returns what `read` finds in the directory of a pipeline that succeeded.

        A pass has no effect outside of its directory, so one that was lost with a worker is run again. (Flink retries
        nothing unless the cluster's configuration says so.) An error that a worker raised would only come again.
        """
        for attempt in range(1, self.attempts + 1):
            with tempfile.TemporaryDirectory(prefix="fullpass-pass-", dir=self.work_dir) as directory:
                try:
                    self._run_once(build, directory, progress)
                    return read(directory)
                except Exception as error:
                    self.after_failure()
                    known = noted_error(directory)
                    if known is not None:
                        raise known from error
                    problem = f"the pass failed on runner {self.name!r}: {_first_line(error)}"
                    if attempt == self.attempts:
                        raise RunnerError(f"{problem} (attempt {attempt} of {self.attempts})") from error
                    _log.warning("%s; attempt %d of %d follows", problem, attempt + 1, self.attempts)
        raise AssertionError("unreachable")

    def _run_once(self, build: Callable[[beam.Pipeline, str], None], directory: str, progress: Progress) -> None:
        pipeline = beam.Pipeline(runner=self.pipeline_runner(), options=self.pipeline_options())
        build(pipeline, directory)
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(directory, progress, stop), daemon=True)
        watcher.start()
        try:
            state = str(pipeline.run().wait_until_finish())
        finally:
            stop.set()
            watcher.join()
        if state not in ("DONE", "None"):
            raise RunnerError(f"the job ended as {state}; see the runner's log")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:500] if lines else type(error).__name__


def _watch(directory: str, progress: Progress, stop: threading.Event) -> None:
    """Shows the records of finished splits until the pass ends."""
    while not stop.wait(_POLL_S):
        progress.update(rows_done(directory))
    progress.update(rows_done(directory))


def _result(directory: str, task: ShardTask) -> ShardResult:
    path = os.path.join(directory, f"task-{task.index}")
    if not os.path.exists(path):
        raise RunnerError(f"the runner finished without shard {task.name}")
    try:  # in a directory that all workers of a cluster may write to
        with open(path, encoding="utf-8") as file:
            return ShardResult.from_json(parse_json(file.read()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunnerError(f"{path}: does not say what shard {task.name} holds ({error}); transform again") from error
