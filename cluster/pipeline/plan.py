"""Which steps run and why: a step is finished where a record has the same key and was made from the same directories."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.pipeline.config import Pipeline
from cluster.pipeline.records import Finished, finished_steps
from cluster.pipeline.step import Step
from cluster.user_code.code_hash import Parsed, code_hash
from engine.core.errors import ConfigError
from engine.core.redaction import redact
from engine.machine.clock import shown
from engine.version import __version__

__all__ = ["Decision", "plan", "steps_of"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What happens to a step.

    Attributes:
        step: the step.
        key: hash of configuration, code and inputs.
        parts: what the key is made of, for others to see: credentials in URIs are hidden.
        finished: the result that is used again, or None where the step runs.
        reason: why it runs or is skipped.
    """

    step: Step
    key: str
    parts: Mapping[str, str]
    finished: Finished | None
    reason: str


def steps_of(pipeline: Pipeline, registry: Sequence[Step]) -> list[Step]:
    """Returns the steps that the pipeline configures, in the order of the work."""
    return [step for step in registry if getattr(pipeline, step.name) is not None]


def plan(pipeline: Pipeline, registry: Sequence[Step], force: bool = False, start: str | None = None) -> list[Decision]:
    """Returns a decision for each step. It reads records, source code and file sizes, and changes nothing.

    Args:
        pipeline: the pipeline.
        registry: all steps there are.
        force: run every step.
        start: run this step and all after it.

    Raises:
        ConfigError: `start` is not a step of the pipeline, or a source or the module is missing.
    """
    steps = steps_of(pipeline, registry)
    names = [step.name for step in steps]
    if start is not None and start not in names:
        raise ConfigError(f"--from {start}: the pipeline has no such step; its steps are {', '.join(names)}")
    decisions: dict[str, Decision] = {}
    parsed: Parsed = {}
    for step in steps:
        before = {name: decisions[name] for name in step.after if name in decisions}
        parts = _parts(step, pipeline, before, parsed)
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        # They go into records, pages, MLflow and metadata stores. The key tells apart what looks the same there.
        parts = {name: redact(value) for name, value in parts.items()}
        results = finished_steps(Path(pipeline.work_dir) / step.name)
        finished, reason = _find(results, key, parts, before)
        if force:
            finished, reason = None, "--force"
        elif start is not None and names.index(step.name) >= names.index(start):
            finished, reason = None, f"--from {start}"
        decisions[step.name] = Decision(step=step, key=key, parts=parts, finished=finished, reason=reason)
    return list(decisions.values())


def _parts(step: Step, pipeline: Pipeline, before: Mapping[str, Decision], parsed: Parsed) -> dict[str, str]:
    config = dataclasses.asdict(step.config(pipeline))
    parts = {f"{step.name}.{k}": _text(v) for k, v in config.items() if k not in step.cosmetic}
    parts["pipeline.label"] = ",".join(pipeline.labels)
    for function in step.functions(pipeline):
        digest = code_hash(pipeline.module, function, parsed)
        if digest is None:
            raise ConfigError(f"{step.name}: {pipeline.module} has no function {function}")
        parts[f"code of {function}"] = digest
    parts["version of fullpass"] = __version__
    for package in step.packages:
        parts[f"version of {package}"] = _version(package)
    for name, fingerprint in step.inputs(pipeline).items():
        parts[f"input {name}"] = fingerprint
    for name, decision in before.items():
        parts[f"step {name}"] = decision.key
    return parts


def _find(
    results: list[Finished], key: str, parts: Mapping[str, str], before: Mapping[str, Decision]
) -> tuple[Finished | None, str]:
    running = [name for name, decision in before.items() if decision.finished is None]
    if running:
        return None, f"{running[0]} runs"
    if not results:
        return None, "not finished yet"
    same = [r for r in results if r.record.key == key]
    if not same:
        return None, _difference(results[0].record.parts, parts)
    for result in same:
        used = {name: decision.finished.directory.name for name, decision in before.items() if decision.finished}
        if dict(result.record.before) != used:
            continue
        damage = result.damage()
        if damage is None:
            return result, f"finished {shown(result.record.finished_at)}"
        return None, damage
    return None, "the steps before it ran again since"


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    changed = [k for k in [*new, *(k for k in old if k not in new)] if old.get(k) != new.get(k)]
    named = [k for k in changed if not k.startswith("step ")]
    if not changed:
        return "changed: a credential in a URI, which is not shown"
    if not named:
        return f"{', '.join(changed)} changed"
    shown = [
        f"{k} {old.get(k)} → {new.get(k)}" if len(str(old.get(k)) + str(new.get(k))) < 60 else k for k in named[:3]
    ]
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return f"changed: {', '.join(shown)}{more}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
