"""A run as files: the newest result of each step of a working directory, or one result and what it was made from."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.pipeline.records import RECORD, Finished, finished_steps
from cluster.pipeline.steps import STEPS
from cluster.pipeline.steps.train import CHECKPOINTS
from cluster.report.unfinished import Unfinished, unfinished_step
from engine.core.errors import ConfigError, DataError
from engine.core.json_text import parse_json

__all__ = ["Run", "open_run", "open_runs"]

_TRIES = 3  # to read what a training may delete between the look and the reading


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """The finished steps of a run, in the order of the work.

    Attributes:
        name: shown.
        path: where it lies.
        steps: step to its result.
        earlier: steps whose result was made from earlier results than those shown, since a step before it ran again, or runs now.
        unfinished: the step that the last run is in, or stopped in; None where it finished.
    """

    name: str
    path: Path
    steps: Mapping[str, Finished]
    earlier: frozenset[str] = frozenset()
    unfinished: Unfinished | None = None

    def output(self, step: str, name: str) -> Path | None:
        """Returns the path of a step's output, or None where the step or its output is not there."""
        finished = self.steps.get(step)
        if finished is None or name not in finished.record.outputs:
            return None
        path = Path(finished.output(name))
        return path if path.exists() else None

    def info(self, step: str) -> Mapping[str, Any]:
        """Returns the facts that a step kept; none where the step is not there."""
        return self.steps[step].record.info if step in self.steps else {}

    @functools.cached_property
    def evaluation(self) -> Any:
        """The `EvaluationResult`, or None."""
        from trainers.evaluation.result import EvaluationResult

        path = self.output("evaluate", "result")
        return None if path is None else EvaluationResult.load(path)

    @functools.cached_property
    def card(self) -> Mapping[str, Any]:
        """The model card, empty where there is none."""
        from trainers.export.card import read_card

        path = self.output("export", "model")
        return (read_card(path) if path is not None else None) or {}

    @functools.cached_property
    def train_state(self) -> Mapping[str, Any]:
        """What the last checkpoint kept of the training, empty where there is none.

        Raises:
            DataError: the checkpoint is damaged.
        """
        path = self.training
        if path is None:
            return {}
        for _ in range(_TRIES):
            states = sorted((path / "checkpoints").glob("step-*/state.json"))
            if not states:
                break
            try:
                stored = parse_json(states[-1].read_text())
            except FileNotFoundError:  # a training that goes on has a later one by now
                continue
            except (OSError, ValueError) as error:
                raise DataError(f"is a damaged checkpoint: {error}; train again", path=str(states[-1])) from None
            return stored if isinstance(stored, dict) else {}
        return {}

    @property
    def training(self) -> Path | None:
        """Checkpoints and logs of the training; of one that is not finished what it has so far."""
        if self.unfinished is not None and self.unfinished.step == "train" and self.unfinished.directory is not None:
            return self.unfinished.directory / CHECKPOINTS
        return self.output("train", "checkpoints")

    @property
    def digest(self) -> str:
        """Which results it is made of."""
        results = [f"{name}/{finished.directory.name}" for name, finished in self.steps.items()]
        return " ".join(results + ([self.unfinished.digest] if self.unfinished is not None else []))


def open_runs(paths: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Returns runs with names that differ."""
    runs = [open_run(path) for path in paths]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        longer = [f"{run.path.parent.name}/{run.name}" for run in runs]
        names = longer if len(set(longer)) == len(longer) else [f"{name} ({i})" for i, name in enumerate(names, 1)]
    return [dataclasses.replace(run, name=name) for run, name in zip(runs, names)]


def open_run(path: str | os.PathLike[str], *, finished: bool = False) -> Run:
    """Returns a run.

    Args:
        path: the working directory of a pipeline, or the directory of one step's result in it, `WORK_DIR/STEP/KEY-N`.
        finished: a run has just finished there: one that has begun since then makes it none that is not.

    Raises:
        ConfigError: nothing finished there, nor begun.
    """
    place = Path(path).resolve()
    if (place / RECORD).is_file():
        return _made_from(place)
    steps = {name: found for name in _order(place) if (found := _latest(place / name)) is not None}
    unfinished = None if finished else unfinished_step(place)
    if not steps and unfinished is None:
        raise ConfigError(
            f"{path}: no finished step of a pipeline; give the working directory of `fullpass run`, or one step's result in it"
        )
    running = unfinished.step if unfinished is not None else ""
    earlier: set[str] = set()
    for name, result in steps.items():
        before = result.record.before
        again = any(b in steps and (steps[b].directory.name != d or b in earlier) for b, d in before.items())
        if again or running in before:
            earlier.add(name)
    return Run(name=place.name, path=place, steps=steps, earlier=frozenset(earlier), unfinished=unfinished)


def _order(work_dir: Path) -> list[str]:
    """Returns the steps in the order of the work; those that this version does not know come last."""
    known = [step.name for step in STEPS]
    others = sorted({path.parents[1].name for path in work_dir.glob(f"*/*/{RECORD}")} - set(known))
    return [*known, *others]


def _latest(step_dir: Path) -> Finished | None:
    """Returns the result in use; where the link is lost, the newest."""
    results = finished_steps(step_dir) if step_dir.is_dir() else []
    link = step_dir / "latest"
    in_use = [found for found in results if link.exists() and found.directory == link.resolve()]
    found = in_use or results
    return found[0] if found else None


def _made_from(directory: Path) -> Run:
    work_dir = directory.parents[1]
    order = _order(work_dir)
    wanted = {directory.parent.name: directory.name}
    steps: dict[str, Finished] = {}
    for name in reversed(order):
        found = [f for f in finished_steps(work_dir / name) if f.directory.name == wanted.get(name)]
        if found:
            steps[name] = found[0]
            wanted.update({k: v for k, v in found[0].record.before.items() if k not in wanted})
    if not steps:
        raise ConfigError(f"{directory}: its record is damaged or of another version; run the step again")
    ordered = {name: steps[name] for name in order if name in steps}
    return Run(name=f"{work_dir.name}@{directory.name}", path=directory, steps=ordered)
