"""A run in MLflow: its settings as parameters, its metrics by step; a restart goes on in the same run."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import Any

from engine.core.errors import ConfigError
from engine.core.redaction import redact_values
from trainers.callbacks.base import Callback, TrainingRun

__all__ = ["MLflowTracker", "flat_settings", "mlflow_name"]

_LONGEST = 500  # characters of a parameter, by MLflow's own limit
_LONGEST_NAME = 250


class MLflowTracker(Callback):
    """Reports to an MLflow tracking server.

    Args:
        uri: of the server, or a local directory or database; None takes MLFLOW_TRACKING_URI.
        experiment: its name.
        run_name: None lets MLflow choose.
        tags: of the run.

    Raises:
        ConfigError: MLflow is not installed.
    """

    def __init__(
        self,
        uri: str | None = None,
        experiment: str = "fullpass",
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise ConfigError("MLflow is not installed: pip install 'fullpass[mlflow]'") from None
        self._client = MlflowClient(tracking_uri=uri)
        self._experiment, self._run_name, self._tags = experiment, run_name, dict(tags or {})
        self._run_id: str | None = None

    def on_start(self, run: TrainingRun) -> None:
        """Makes the run, or goes on in that of the checkpoint."""
        if self._run_id is not None:
            self._client.update_run(self._run_id, status="RUNNING")
            return
        found = self._client.get_experiment_by_name(self._experiment)
        number = found.experiment_id if found is not None else self._client.create_experiment(self._experiment)
        self._run_id = self._client.create_run(number, run_name=self._run_name, tags=self._tags).info.run_id
        for name, value in flat_settings(redact_values(run.config.as_json())).items():
            self._client.log_param(self._run_id, mlflow_name(name), str(value)[:_LONGEST])

    def on_log(self, run: TrainingRun, metrics: Mapping[str, float]) -> None:
        """Reports train/NAME."""
        self._report(run, "train", metrics)

    def on_evaluation(self, run: TrainingRun, metrics: Mapping[str, float]) -> None:
        """Reports eval/NAME."""
        self._report(run, "eval", metrics)

    def _report(self, run: TrainingRun, kind: str, metrics: Mapping[str, float]) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = [Metric(mlflow_name(f"{kind}/{name}"), float(value), now, run.step) for name, value in metrics.items()]
        if values and self._run_id is not None:
            self._client.log_batch(self._run_id, metrics=values)

    def on_end(self, run: TrainingRun) -> None:
        """Marks the run as finished."""
        if self._run_id is not None:
            self._client.set_terminated(self._run_id)

    def get_state(self) -> dict[str, Any]:
        """Returns the id of the run."""
        return {"run_id": self._run_id}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes the id of the run over."""
        self._run_id = state.get("run_id")


def mlflow_name(name: str) -> str:
    """Returns the name of a metric or parameter as MLflow takes it: what it does not take (of `recall@5`) is an underscore."""
    taken = "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)
    return posixpath.normpath(taken[:_LONGEST_NAME])  # of what is left: a slash at its end is refused


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns settings by dotted names, lists as JSON."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flat_settings(value, f"{name}."))
        else:
            flat[name] = json.dumps(value) if isinstance(value, list | tuple) else value
    return flat
