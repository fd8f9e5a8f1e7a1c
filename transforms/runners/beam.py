"""Passes on any Beam runner: a handful of stages, whatever the number of analyzers.

    Create(splits) → Reshuffle → read and accumulate → group by key → merge

The reshuffle spreads the splits over all workers; Beam's own sources would read all files in one task on Flink and Spark.
Many small parts share a key, so that the number of elements does not grow with the number of analyzers. Merged parts go to
files in a directory that driver and workers share, and the driver maps them into memory.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from engine.errors import FullpassError
from engine.progress import Progress
from transforms.analysis_pass import AnalysisPass
from transforms.runners.base import PassResult, SplitReader
from transforms.runners.beam_stages import AccumulateSplit, MergeParts, WriteShard, rows_done
from transforms.runners.exchange import read_parts
from transforms.transform_pass import ShardResult, ShardTask, TransformPass

__all__ = ["BeamRunner", "RunnerError"]

_POLL_S = 0.5


class RunnerError(FullpassError):
    """A pass that failed on its runner."""


class BeamRunner:
    """Runs passes as Beam pipelines.

    Args:
        options: Beam pipeline options, e.g. "--runner=DirectRunner"; "--work_dir=DIR" names a directory that driver and
            workers share (default: a temporary one).
    """

    name = "beam"

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.work_dir = next((each.split("=", 1)[1] for each in options if each.startswith("--work_dir=")), None)
        self.options = [each for each in options if not each.startswith("--work_dir=")]

    def pipeline_options(self) -> PipelineOptions:
        """Returns the options of a pipeline."""
        return PipelineOptions(self.options)

    def accumulate(
        self, plan: AnalysisPass, reader: SplitReader, splits: Sequence[Any], progress: Progress
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

        with tempfile.TemporaryDirectory(prefix="fullpass-pass-", dir=self.work_dir) as directory:
            self._run(build, directory, progress)
            parts, rows = read_parts(directory)
        return PassResult(parts=parts, split_rows=rows)

    def transform(
        self, plan: TransformPass, reader: SplitReader, tasks: Sequence[ShardTask], progress: Progress
    ) -> list[ShardResult]:
        """Runs each task and returns the results in the order of tasks."""

        def build(pipeline: beam.Pipeline, directory: str) -> None:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(tasks), reshuffle=False)
                | "Spread" >> beam.Reshuffle()
                | "Transform" >> beam.ParDo(WriteShard(plan, reader, directory))
            )

        with tempfile.TemporaryDirectory(prefix="fullpass-pass-", dir=self.work_dir) as directory:
            self._run(build, directory, progress)
            return [_result(directory, task) for task in tasks]

    def _run(self, build: Callable[[beam.Pipeline, str], None], directory: str, progress: Progress) -> None:
        pipeline = beam.Pipeline(options=self.pipeline_options())
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
            raise RunnerError(f"the pass ended as {state} on runner {self.name!r}; see the runner's log")


def _watch(directory: str, progress: Progress, stop: threading.Event) -> None:
    """Shows the records of finished splits until the pass ends."""
    while not stop.wait(_POLL_S):
        progress.update(rows_done(directory))
    progress.update(rows_done(directory))


def _result(directory: str, task: ShardTask) -> ShardResult:
    path = os.path.join(directory, f"task-{task.index}")
    if not os.path.exists(path):
        raise RunnerError(f"the runner finished without shard {task.name}")
    with open(path) as file:
        read, written = map(int, file.read().split())
    return ShardResult(index=task.index, read=read, written=written)
