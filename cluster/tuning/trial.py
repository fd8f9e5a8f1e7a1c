"""One trial of a search: a training run in a directory of its own, in a process of Ray's."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = ["TRIAL_FILE", "run_trial"]

TRIAL_FILE = "trial.json"


def run_trial(drawn: dict[str, Any], job: Mapping[str, Any]) -> None:
    """Trains with the settings that were drawn, reports each evaluation, and writes trial.json at the end.

    A process that is started again for the same trial goes on from the trial's last checkpoint.

    Args:
        drawn: "table.key" to a value.
        job: settings that all trials share, module, data, out, metric, mode.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from ray import tune

    from cluster.steps import train
    from cluster.tuning.space import settings_of
    from engine.core.configs import decode
    from engine.core.json_text import plain_json
    from engine.storage.atomic import atomic_file
    from trainers.loop.faults.divergence import TrainingDiverged

    directory = Path(job["out"], "trials", tune.get_context().get_trial_id())
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {name: value.item() if hasattr(value, "item") else value for name, value in drawn.items()}  # of numpy
    values = settings_of(job["config"], drawn)
    config = decode(train.TrainConfig, {**values, "directory": str(directory)})
    said: dict[str, Any] = {"drawn": drawn}
    try:
        result = train.run(
            config,
            job["module"],
            _open(job, "data", "filters"),
            eval=_open(job, "eval", "eval_filters"),
            graph=job["graph"],
            callbacks=[_reporting(job["metric"], job["mode"])],
        )
        said |= {"metrics": result.eval_metrics, "steps": result.steps, "checkpoint": result.checkpoint}
        value = result.eval_metrics.get(job["metric"])
        if value is not None and not math.isfinite(value):
            said["diverged"] = f"its {job['metric']} is {value} after {result.steps} steps"
    except TrainingDiverged as error:
        # No fault of the search: these settings are as bad as can be.
        said |= {"metrics": None, "diverged": str(error)}
        tune.report({job["metric"]: _worst(job["mode"]), "evaluations": 1_000_000})
    with atomic_file(directory / TRIAL_FILE) as temporary:
        temporary.write_text(json.dumps(plain_json(said)))


def _open(job: Mapping[str, Any], data: str, filters: str) -> Dataset:
    from engine import Dataset

    given = job[data]
    return Dataset.open(given if len(given) > 1 else given[0], job["feature_spec"], filters=job[filters])


def _worst(mode: str) -> float:
    return math.inf if mode == "min" else -math.inf


def _reporting(metric: str, mode: str) -> Any:
    from ray import tune

    from engine.core.errors import ConfigError
    from trainers.callbacks.base import Callback

    class Reporting(Callback):
        """Tells Ray the metrics of each evaluation; Ray ends the trial there where it is behind the others."""

        evaluations = 0

        def on_evaluation(self, run: Any, metrics: Mapping[str, float]) -> None:
            if metric not in metrics:
                raise ConfigError(f"metric {metric!r} not found; the evaluation has {', '.join(metrics)}")
            self.evaluations += 1
            # NaN compares with nothing: samplers and schedulers would pass over it, or take it for good.
            value = metrics[metric] if math.isfinite(metrics[metric]) else _worst(mode)
            tune.report({**metrics, metric: value, "evaluations": self.evaluations, "step": run.step})

        def get_state(self) -> dict[str, Any]:
            return {"evaluations": self.evaluations}

        def set_state(self, state: Mapping[str, Any]) -> None:
            self.evaluations = state["evaluations"]

    return Reporting()
