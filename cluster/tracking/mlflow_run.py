"""A finished run as an MLflow run: settings as parameters, metrics, training curves, the report and the evaluation as artifacts."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.report.page import verdict_of
from cluster.report.runs import Run
from cluster.report.sections.training import curves
from engine.core.errors import FullpassError
from engine.version import __version__
from trainers.callbacks.mlflow_tracker import mlflow_name

__all__ = ["record_mlflow"]

_RESULTS = "fullpass.results"  # tag: which results a run of MLflow holds
_LONGEST = 6000  # characters of a parameter, by MLflow's own limit
_LONGEST_TAG = 5000
_BATCH, _BATCH_PARAMS = 1000, 100  # of one call, by MLflow's own limits


def record_mlflow(run: Run, uri: str | None, experiment: str, files: Sequence[Path]) -> str:
    """Records a run in MLflow, once for the same results, and returns a line that says where.

    Args:
        run: the finished run.
        uri: of the tracking server; None takes MLFLOW_TRACKING_URI.
        experiment: its name.
        files: artifacts beside the evaluation and the model card.

    Raises:
        FullpassError: the server refused it or was not reached; a run that was begun there is marked as failed.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        number = found.experiment_id if found is not None else client.create_experiment(experiment)
        results = run.digest[:_LONGEST_TAG]
        for there in client.search_runs(
            [number], f"tags.`{_RESULTS}` = '{results}' and attributes.status = 'FINISHED'"
        ):
            return f"mlflow run {there.info.run_id} of experiment {experiment} has these results already"
        run_id = client.create_run(number, run_name=run.name, tags=_tags(run, results)).info.run_id
        try:
            _record(client, run_id, run, files)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id)
    except MlflowException as error:
        raise FullpassError(f"mlflow {uri or ''}: {' '.join(str(error).split())}; the run itself is finished") from None
    return f"mlflow run {run_id} of experiment {experiment}"


def _tags(run: Run, results: str) -> dict[str, str]:
    verdict = verdict_of(run)
    return {
        _RESULTS: results,
        "fullpass.version": __version__,
        "fullpass.verdict": verdict.text[:_LONGEST_TAG],
        "fullpass.work_dir": str(run.path)[:_LONGEST_TAG],
    }


def _record(client: Any, run_id: str, run: Run, files: Sequence[Path]) -> None:
    from mlflow.entities import Metric, Param

    params = [
        Param(mlflow_name(name), str(value)[:_LONGEST])
        for finished in run.steps.values()
        for name, value in finished.record.parts.items()
        if not name.startswith("step ")
    ]
    params = list({param.key: param for param in params}.values())
    for i in range(0, len(params), _BATCH_PARAMS):
        client.log_batch(run_id, params=params[i : i + _BATCH_PARAMS])
    now = int(time.time() * 1000)
    metrics = [
        Metric(mlflow_name(name), value, now, int(step)) for name, step, value in _metrics(run) if math.isfinite(value)
    ]
    for i in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[i : i + _BATCH])
    kept = [run.output("evaluate", "result"), *files]
    model = run.output("export", "model")
    if model is not None:
        kept.append(model / "assets.extra" / "model_card.md")
    for path in kept:
        if path is not None and Path(path).is_file():
            client.log_artifact(run_id, str(path))


def _metrics(run: Run) -> list[tuple[str, float, float]]:
    """Returns name, step and value: of the training as the trainer's own tracker names them, of the evaluation and the steps."""
    found = [
        (f"{kind}/{name}", step, value)
        for name, kinds in curves(run).items()
        for kind, points in kinds.items()
        for step, value in points
    ]
    if run.evaluation is not None:
        found += [(f"evaluate/{name}", 0, value) for name, value in run.evaluation.overall.items()]
    for name, finished in run.steps.items():
        found += [(f"seconds/{name}", 0, finished.record.seconds), (f"rows/{name}", 0, finished.record.rows_out)]
    return found
