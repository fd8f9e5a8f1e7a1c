"""A search for settings with Ray Tune: it is begun, gone on with where it was interrupted, and its best trial is written down."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.steps.train import TrainConfig
from cluster.tuning.config import SearchConfig
from cluster.tuning.ray_tune import fit, import_tune
from cluster.tuning.space import examples_of, settings_of
from cluster.tuning.trial import TRIAL_FILE
from engine.core.configs import decode, encode
from engine.core.errors import ConfigError, DataError, FullpassError
from engine.core.json_text import parse_json
from engine.machine.lock import LockHeld, locked
from engine.storage.atomic import atomic_file
from engine.storage.uris import require_local
from trainers.checkpoints.directory import BEST_FILE

__all__ = ["SearchResult", "Trial", "run"]

_SETTINGS = "search.json"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial that came to its end.

    Attributes:
        directory: of the training; `fullpass export` takes it.
        drawn: what was drawn, by setting.
        metrics: of its evaluation; None where the training diverged.
        checkpoint: that it ended with.
        diverged: why its metric is no finite number, None where it is one: such a trial is behind all others.
    """

    directory: str
    drawn: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    checkpoint: str | None
    diverged: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        best: the trial of the best metric.
        finished: all trials that trained to the end, best first.
        ended_early: trials that the scheduler ended.
        failed: trial to the reason of its last failure.
    """

    best: Trial
    finished: list[Trial]
    ended_early: int
    failed: Mapping[str, str]


def run(config: SearchConfig, job: Mapping[str, Any]) -> SearchResult:
    """Searches to the end; a search that was interrupted goes on. OUT/best.json then names the best trial.

    Args:
        config: of the search.
        job: what a trial needs, JSON-able: config (a `TrainConfig` as `encode` gives it), module, data, filters, eval, eval_filters,
            feature_spec, graph, out (a directory that all of Ray's nodes see).

    Raises:
        ConfigError: another search is in the directory, or works there now; no evaluation data; a setting or value that
            no training takes; Ray or Optuna is not installed.
        FullpassError: no trial came to its end.
    """
    if not job["eval"]:
        raise ConfigError("a search compares evaluations: give evaluation data")
    out = require_local("--out", job["out"]).absolute()
    for drawn in examples_of(config.search):  # rather than by the first trial, and once for each of its restarts
        decode(TrainConfig, {**settings_of(job["config"], drawn), "directory": job["out"]}, "search")
    job = {**job, "metric": config.metric, "mode": config.mode, "module": os.path.abspath(job["module"])}
    job["out"] = str(out)
    try:
        with locked(out, wait=False):
            _check_same(
                out / _SETTINGS, {"search": encode(config), "job": {k: v for k, v in job.items() if k != "out"}}
            )
            return _judged(config, out, fit(import_tune(config), config, job))
    except LockHeld as held:
        raise ConfigError(
            f"{out}: process {held.holder} searches there; wait for its end, or give another --out"
        ) from None


def _check_same(path: Path, settings: Mapping[str, Any]) -> None:
    text = json.dumps(settings, sort_keys=True, default=str)
    if path.exists():
        before, now = _table(path), json.loads(text)
        if not all(isinstance(before.get(table), dict) for table in now):
            raise DataError("does not say what is searched for: it is damaged; give another --out", path=str(path))
        changed = [
            f"{table}.{key}"
            for table in now
            for key in sorted({*now[table], *before[table]})
            if now[table].get(key) != before[table].get(key)
        ]
        if changed:
            raise ConfigError(
                f"{path.parent} has a search with another {', '.join(changed)}: give another --out, or the same settings"
            )
        return
    with atomic_file(path) as temporary:
        temporary.write_text(text)


def _table(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"is damaged ({error}); give another --out", path=str(path)) from error
    if not isinstance(found, dict):
        raise DataError(f"is damaged (it holds a {type(found).__name__}); give another --out", path=str(path))
    return found


def _trial(path: Path) -> dict[str, Any]:
    """Returns what a trial said at its end; its directory is the file's own, whatever the file says."""
    found = _table(path)
    metrics, drawn = found.get("metrics"), found.get("drawn")
    numbers = metrics is None or (
        isinstance(metrics, dict) and all(isinstance(value, int | float | None) for value in metrics.values())
    )
    texts = all(isinstance(found.get(key), str | None) for key in ("checkpoint", "diverged"))
    if not (numbers and isinstance(drawn, dict) and texts):
        raise DataError("is damaged: it has no metrics or no settings of a trial; give another --out", path=str(path))
    return {**found, "directory": str(path.parent)}


def _judged(config: SearchConfig, out: Path, results: Any) -> SearchResult:
    sign = 1.0 if config.mode == "min" else -1.0

    def worth(trial: Trial) -> float:
        value = (trial.metrics or {}).get(config.metric)
        return math.inf if value is None else sign * float(value)

    found = [_trial(path) for path in sorted(out.glob(f"trials/*/{TRIAL_FILE}"))]
    finished = sorted(
        (
            Trial(
                directory=one["directory"],
                drawn=one["drawn"],
                metrics=one["metrics"],
                checkpoint=one.get("checkpoint"),
                diverged=one.get("diverged"),
            )
            for one in found
        ),
        key=worth,
    )
    failed = {str(i): str(error).strip().splitlines()[-1] for i, error in enumerate(results.errors)}
    if not finished or math.isinf(worth(finished[0])):
        reasons = [trial.diverged for trial in finished if trial.diverged] + list(failed.values())
        raise FullpassError(
            f"no trial came to its end with {config.metric}: {reasons[0] if reasons else 'interrupted'}"
        )
    best = finished[0]
    with atomic_file(out / BEST_FILE) as temporary:
        said = {"directory": os.path.relpath(best.directory, out), "drawn": best.drawn, "metrics": best.metrics}
        temporary.write_text(json.dumps(said))
    ended = len(results) - len(finished) - len(failed)
    return SearchResult(best=best, finished=finished, ended_early=max(ended, 0), failed=failed)
