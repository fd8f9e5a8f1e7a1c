"""What a run was made of and what came of it, from its records: for comparing two of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.pipeline.records import RECORD, Finished, read_finished
from engine.core.errors import ConfigError

__all__ = ["Difference", "RunFacts", "differences", "read_run"]

_EVALUATE = "evaluate"
_CONCERNS = ("data", "code", "configuration")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run.

    Attributes:
        path: as it was given.
        evaluation: of the model.
        parts: by concern ("data", "code", "configuration"), what it was made of: name to text.
    """

    path: str
    evaluation: Any
    parts: Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """What one run was made of and another was not.

    Attributes:
        concern: "data", "code" or "configuration".
        name: what.
        before, after: None where a run has no such thing.
    """

    concern: str
    name: str
    before: str | None
    after: str | None


def read_run(path: str | os.PathLike[str]) -> RunFacts:
    """Returns a run.

    Args:
        path: work directory of a pipeline, whose last evaluation is meant; directory of one result of its evaluate step; or the
            JSON file of an evaluation.

    Raises:
        ConfigError: nothing of that is there.
    """
    from trainers.evaluation.result import EvaluationResult

    given = Path(path)
    if given.is_file() or "://" in os.fspath(path):
        result = EvaluationResult.load(path)
        return RunFacts(path=os.fspath(path), evaluation=result, parts={"data": _data(result)})
    for directory in (given, given / "latest", given / _EVALUATE / "latest"):
        finished = read_finished(directory.resolve()) if (directory / RECORD).is_file() else None
        if finished is not None and finished.record.step == _EVALUATE:
            result = EvaluationResult.load(finished.output("result"))
            return RunFacts(path=os.fspath(path), evaluation=result, parts=_parts(finished, result))
    raise ConfigError(
        f"{os.fspath(path)}: no evaluation is there; give a pipeline's work directory, a result of its evaluate step "
        "(WORK_DIR/evaluate/KEY-N), or an evaluation.json"
    )


def differences(before: RunFacts, after: RunFacts) -> list[Difference]:
    """Returns what differs between two runs, data first, then code, then configuration; only what both have records of."""
    found = []
    for concern in _CONCERNS:
        old, new = before.parts.get(concern), after.parts.get(concern)
        if old is None or new is None:
            continue
        for name in dict.fromkeys([*old, *new]):
            both = name in old and name in new
            if old.get(name) != new.get(name) and (both or set(before.parts) == set(after.parts)):
                found.append(Difference(concern=concern, name=name, before=old.get(name), after=new.get(name)))
    return found


def _data(result: Any) -> dict[str, str]:
    return {"evaluated rows": f"{result.rows:,}", "manifest of the evaluated rows": result.data}


def _parts(evaluated: Finished, result: Any) -> dict[str, dict[str, str]]:
    """The parts of the evaluation's key and of those of all steps before it."""
    parts: dict[str, dict[str, str]] = {concern: {} for concern in _CONCERNS}
    parts["data"].update(_data(result))
    work_dir, waiting = evaluated.directory.parent.parent, [evaluated]
    seen: set[str] = set()
    while waiting:
        finished = waiting.pop()
        record = finished.record
        if record.step in seen:
            continue
        seen.add(record.step)
        parts["data"][f"rows of {record.step}"] = f"{record.rows_in:,} in, {record.rows_out:,} out"
        for name, value in record.parts.items():
            if not name.startswith("step "):  # the keys of earlier steps, whose own parts follow
                parts[_concern(name)][name if not name.startswith("input ") else f"{record.step}: {name}"] = value
        for step, directory in record.before.items():
            earlier = read_finished(work_dir / step / directory)
            if earlier is not None:  # older results are deleted after a while
                waiting.append(earlier)
    return {concern: dict(sorted(found.items())) for concern, found in parts.items()}


def _concern(name: str) -> str:
    if name.startswith("input ") or name.startswith("data."):
        return "data"
    return "code" if name.startswith(("code of ", "version of ")) else "configuration"
