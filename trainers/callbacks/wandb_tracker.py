"""A run in Weights & Biases; a restart goes on in the same run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.core.errors import ConfigError
from engine.core.redaction import redact_values
from trainers.callbacks.base import Callback, TrainingRun

__all__ = ["WandbTracker"]


class WandbTracker(Callback):
    """Reports to Weights & Biases.

    Args:
        project: its name.
        mode: "online", or "offline": files that `wandb sync` sends later.
        **options: further arguments of `wandb.init`, e.g. name, tags, dir.

    Raises:
        ConfigError: wandb is not installed.
    """

    def __init__(self, project: str = "fullpass", mode: str | None = None, **options: Any) -> None:
        try:
            import wandb
        except ImportError:
            raise ConfigError("Weights & Biases is not installed: pip install 'fullpass[wandb]'") from None
        self._wandb: Any = wandb
        self._options: dict[str, Any] = {"project": project, "mode": mode, **options}
        self._id: str | None = None
        self._run: Any = None

    def on_start(self, run: TrainingRun) -> None:
        """Makes the run, or goes on in that of the checkpoint."""
        resume: dict[str, Any] = {"id": self._id, "resume": "allow"} if self._id is not None else {}
        self._run = self._wandb.init(config=redact_values(run.config.as_json()), **self._options, **resume)
        self._id = self._run.id

    def on_log(self, run: TrainingRun, metrics: Mapping[str, float]) -> None:
        """Reports train/NAME."""
        self._run.log({f"train/{name}": value for name, value in metrics.items()} | {"step": run.step})

    def on_evaluation(self, run: TrainingRun, metrics: Mapping[str, float]) -> None:
        """Reports eval/NAME."""
        if metrics:
            self._run.log({f"eval/{name}": value for name, value in metrics.items()} | {"step": run.step})

    def on_end(self, run: TrainingRun) -> None:
        """Ends the run."""
        self._run.finish()

    def get_state(self) -> dict[str, Any]:
        """Returns the id of the run."""
        return {"id": self._id}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes the id of the run over."""
        self._id = state.get("id")
