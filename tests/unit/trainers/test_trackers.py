"""Weights & Biases by its offline files; MLflow, which needs a server, is in tests/system/trainers/test_mlflow.py."""

from __future__ import annotations

import json

import pytest

from engine.dataset.arrays import ArrayDataset
from tests.support.models import build_dense, classification_columns
from trainers import Trainer, TrainerConfig

SECRET = "SuperSecret123"


def fit(directory, epochs, trackers):
    settings = {
        "label": "y",
        "global_batch_size": 32,
        "steps_per_call": 10,
        "log_every_steps": 20,
        "tensorboard": False,
        "hyperparameters": {"table": f"https://me:{SECRET}@host/table"},
    }
    config = TrainerConfig(directory=str(directory), epochs=epochs, trackers=trackers, **settings)
    data = ArrayDataset(classification_columns())
    return Trainer(config, build_dense, data, eval=data).fit()


def test_wandb_offline_run_goes_on_after_a_restart(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="Weights & Biases is not installed: pip install wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    trackers = {"wandb": {"project": "p", "mode": "offline", "dir": str(tmp_path)}}
    fit(tmp_path / "run", 1, trackers)
    result = fit(tmp_path / "run", 2, trackers)
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len({path.name.rsplit("-", 1)[1] for path in runs}) == 1, "the same run, in two parts"
    parts = [next(path.glob("*.wandb")).read_bytes() for path in runs]
    for part, evaluation in zip(parts, result.history, strict=True):
        assert SECRET.encode() not in part and b"https://***@host/table" in part
        assert b"eval/loss" in part and json.dumps(evaluation["loss"]).encode() in part


@pytest.mark.parametrize(
    "name",
    ["train/recall@5", "train/f1(macro)", "train/a//b", "train/./b", "eval/größe: 1", "x" * 300, "x" * 249 + "/y"],
)
def test_names_of_metrics_are_those_that_mlflow_takes(name):
    validation = pytest.importorskip("mlflow.utils.validation", reason="MLflow is not installed: pip install mlflow")
    from trainers.callbacks.mlflow_tracker import mlflow_name

    for check in (validation._validate_metric_name, validation._validate_param_name):
        check(mlflow_name(name))
    assert mlflow_name("train/loss") == "train/loss"
