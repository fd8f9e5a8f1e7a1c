"""Runs a pipeline: each step that is not finished, in order, with its counts and seconds."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cluster.pipeline.config import Pipeline
from cluster.pipeline.data_config import ingest_of_text
from cluster.pipeline.plan import Decision, plan
from cluster.pipeline.records import (
    Finished,
    StepRecord,
    begin_directory,
    commit,
    drop_unfinished,
    point_latest,
    prune,
    sizes_in,
)
from cluster.pipeline.step import Step, StepContext, StepResult
from cluster.pipeline.steps import STEPS
from engine.core.errors import ConfigError, FullpassError
from engine.core.redaction import redact
from engine.core.run_log import in_step
from engine.machine.clock import utc_now
from engine.machine.lock import LockHeld, locked

__all__ = ["PipelineError", "run_pipeline"]

Say = Callable[[str], None]
_log = logging.getLogger(__name__)


class PipelineError(FullpassError):
    """A step failed; the message begins with its name. The results of earlier runs are as they were.

    Attributes:
        step: name of the step.
    """

    def __init__(self, step: str, message: str) -> None:
        self.step = step
        super().__init__(f"{step}: {message}")


def run_pipeline(
    pipeline: Pipeline,
    *,
    force: bool = False,
    start: str | None = None,
    dry_run: bool = False,
    say: Say = print,
    before_work: Callable[[], None] = lambda: None,
) -> dict[str, Finished]:
    """Returns step → result after running every step that is not finished.

    Args:
        pipeline: from `load_pipeline`, or built in Python.
        force: run every step, finished or not.
        start: run this step and all after it, finished or not.
        dry_run: only say what would run and why; the result holds the steps that are finished.
        say: gets each line of text.
        before_work: called before the first step that is not skipped: what is slow to import is imported there.

    Raises:
        ConfigError: a mistake in the pipeline, or another run works in the same directory.
        PipelineError: a step failed.
    """
    pipeline = _with_text_ingested(pipeline)
    if dry_run:
        decisions = plan(pipeline, STEPS, force, start)
        for decision in decisions:
            say(f"{decision.step.name:<10} {'skip' if decision.finished else 'run '}  {decision.reason}")
        return {d.step.name: d.finished for d in decisions if d.finished}
    with _lock(Path(pipeline.work_dir)):
        decisions = plan(pipeline, STEPS, force, start)
        results: dict[str, Finished] = {}
        began = time.monotonic()
        for number, decision in enumerate(decisions, 1):
            name = decision.step.name
            with in_step(name):
                if decision.finished:
                    results[name] = _skip(decision, say)
                    continue
                if all(d.finished for d in decisions[: number - 1]):
                    before_work()
                say(f"{name:<10} runs, step {number} of {len(decisions)} ({decision.reason})")
                results[name] = _run(decision, pipeline, results, say)
        drop_unfinished(Path(pipeline.work_dir), results)
        say(
            f"{'pipeline':<10} {pipeline.name} finished in {time.monotonic() - began:.1f} s; results in {pipeline.work_dir}"
        )
        return results


def _with_text_ingested(pipeline: Pipeline) -> Pipeline:
    """The pipeline with [ingest] in place of a [data] of CSV, which no later step reads."""
    ingest = ingest_of_text(pipeline.data) if pipeline.data is not None else None
    return pipeline if ingest is None else dataclasses.replace(pipeline, data=None, ingest=ingest)


def _skip(decision: Decision, say: Say) -> Finished:
    finished = decision.finished
    assert finished is not None
    say(f"{decision.step.name:<10} skipped, {decision.reason}: {_counts(finished.record)}")
    for line in _judgement(finished.record):
        say(f"{'':<10} {line}")
    point_latest(finished.directory)
    return finished


def _judgement(record: StepRecord) -> list[str]:
    """Returns the metrics of an evaluation that is used again, and what the model did not reach."""
    overall = record.info.get("overall")
    if not overall:
        return []
    failures = record.info.get("failures", [])
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in overall.items() if isinstance(value, float))
    return [metrics, *([f"not blessed: {'; '.join(failures)}"] if failures else [])]


def _run(decision: Decision, pipeline: Pipeline, results: Mapping[str, Finished], say: Say) -> Finished:
    step = decision.step
    before = {name: results[name] for name in step.after if name in results}
    directory = begin_directory(Path(pipeline.work_dir) / step.name, decision.key, step.resumable)
    _log.info("writes into %s", directory)
    began = time.monotonic()
    result = _work(step, StepContext(pipeline=pipeline, out=directory, before=before))
    seconds = time.monotonic() - began
    record = StepRecord(
        step=step.name,
        key=decision.key,
        parts=dict(decision.parts),
        before={name: finished.directory.name for name, finished in before.items()},
        rows_in=result.counts.rows_in,
        rows_out=result.counts.rows_out,
        set_aside=dict(result.counts.set_aside),
        seconds=round(seconds, 3),
        outputs=dict(result.outputs),
        notes=tuple(map(redact, result.notes)),
        info=dict(result.info),
        files={},
        beside=sizes_in(result.beside),
        finished_at=utc_now(),
    )
    finished = commit(directory, record)
    _log.info(
        "%d files, %d bytes are in %s",
        len(finished.record.files),
        sum(finished.record.files.values()),
        finished.directory,
    )
    prune(directory.parent, directory)
    say(f"{'':<10} {_counts(finished.record)}")
    for note in finished.record.notes:
        say(f"{'':<10} {note}".rstrip())
    return finished


def _work(step: Step, context: StepContext) -> StepResult:
    try:
        result = step.run(context)
        result.counts.check(step.name)
        return result
    except PipelineError:
        raise
    except FullpassError as error:
        raise PipelineError(step.name, str(error)) from error
    except OSError:
        raise
    except Exception as error:
        raise RuntimeError(f"{step.name}: {type(error).__name__}: {error}") from error


def _counts(record: StepRecord) -> str:
    from cluster.pipeline.step import Counts

    counts = Counts(rows_in=record.rows_in, rows_out=record.rows_out, set_aside=record.set_aside)
    return f"{counts}, {record.seconds:.1f} s"


@contextlib.contextmanager
def _lock(work_dir: Path) -> Iterator[None]:
    """Holds the working directory."""
    try:
        with locked(work_dir, wait=False):
            yield
    except LockHeld as held:
        raise ConfigError(
            f"another run (process {held.holder}) uses {work_dir}; wait for it, or give another --work-dir"
        ) from None
