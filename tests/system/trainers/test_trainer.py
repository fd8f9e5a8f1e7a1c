"""The loop on one device: it learns, and a restart goes on to the very bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.bits import weights_of
from tests.support.models import build_keras3, classification_columns
from trainers import ArrayDataset, CheckpointConfig, Trainer, TrainerConfig
from trainers.checkpoints.checkpoint import CheckpointError
from trainers.loop.audit import read_audit


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    return ArrayDataset(classification_columns())


def config(directory, **changes) -> TrainerConfig:
    settings = {"label": "y", "global_batch_size": 32, "epochs": 3, "steps_per_call": 4, "tensorboard": False}
    return TrainerConfig(directory=str(directory), **{**settings, **changes})


def test_fit_learns_and_counts_every_record_once_an_epoch(data, tmp_path):
    result = Trainer(config(tmp_path, epochs=6, audit=True), build_keras3, data, eval=data).fit()
    assert result.eval_metrics["accuracy"] > 0.85
    assert result.steps == 120 and result.epochs == 6
    used = read_audit(str(tmp_path))
    for epoch in range(6):
        ids = np.concatenate([used[step] for step in range(epoch * 20, epoch * 20 + 20)])
        assert sorted(ids.tolist()) == list(range(640))


@pytest.mark.parametrize("first", [4, 20, 36])
def test_fit_interrupted_continues_bit_identically(data, tmp_path, first, monkeypatch):
    changes = {"ema_decay": 0.9, "clip_norm": 1.0}
    whole = Trainer(config(tmp_path / "whole", **changes), build_keras3, data, eval=data).fit()
    interrupted = config(tmp_path / "parts", checkpoint=CheckpointConfig(every_steps=1, keep=50), **changes)
    from trainers.loop.session import Session

    real = Session.call

    def stops(self, num_steps, stop_requested):
        return real(self, num_steps, stop_requested) or self.state.step == first

    monkeypatch.setattr(Session, "call", stops)
    with pytest.raises(SystemExit) as stopped:
        Trainer(interrupted, build_keras3, data, eval=data).fit()
    assert stopped.value.code == 143
    monkeypatch.undo()
    parts = Trainer(interrupted, build_keras3, data, eval=data).fit()
    assert parts.resumed_from == first
    assert weights_of(parts.checkpoint) == weights_of(whole.checkpoint)
    assert [h["loss"] for h in parts.history] == [h["loss"] for h in whole.history]


def test_fit_other_data_is_refused_by_name(data, tmp_path):
    Trainer(config(tmp_path, epochs=1), build_keras3, data).fit()
    columns = classification_columns(seed=1)
    with pytest.raises(ValueError, match="manifest"):
        Trainer(config(tmp_path, epochs=2), build_keras3, ArrayDataset(columns)).fit()
    more = ArrayDataset({**classification_columns(), "z": np.zeros(640, np.float32)})
    with pytest.raises(CheckpointError, match="field 'z'"):
        Trainer(config(tmp_path, epochs=2), build_keras3, more).fit()
    with pytest.raises(CheckpointError, match="global_batch_size=32, now it is 64"):
        Trainer(config(tmp_path, epochs=2, global_batch_size=64), build_keras3, data).fit()
