"""A call that is queued before the last one's result is read changes nothing that anybody sees."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.unit.trainers.test_divergence import BAD_ROW, build, columns, config, step_of_bad_row, with_nan
from trainers import ArrayDataset, CheckpointConfig, EarlyStopping, Trainer
from trainers.checkpoints.checkpoint import load_checkpoint
from trainers.checkpoints.directory import checkpoint_path, checkpoint_steps
from trainers.loop.audit import read_audit
from trainers.loop.faults.divergence import TrainingDiverged
from trainers.loop.synchronous import SynchronousLoop

__all__ = ["columns", "with_nan"]  # fixtures


@pytest.fixture
def ahead(monkeypatch):
    """As on a GPU; counts the calls that were launched while another one's result was not read yet."""
    waiting, overlaps = [0], [0]
    launch = SynchronousLoop.launch

    def counted(self, *arguments, **named):
        overlaps[0] += waiting[0]
        read = launch(self, *arguments, **named)
        waiting[0] += 1

        def taken():
            waiting[0] -= 1
            return read()

        return taken

    monkeypatch.setattr(SynchronousLoop, "runs_ahead", property(lambda self: True))
    monkeypatch.setattr(SynchronousLoop, "launch", counted)
    return overlaps


def trained(columns, directory, **changes):
    data = ArrayDataset(columns)
    settings = {
        "epochs": 3,
        "log_every_steps": 10,
        "audit": True,
        "checkpoint": CheckpointConfig(every_steps=6, keep=99),
    }
    return Trainer(config(directory, **{**settings, **changes}), build(0.05), data, eval=data).fit()


def tensors(directory, step):
    found = load_checkpoint(checkpoint_path(str(directory), step)).tensors("model")
    return [values.numpy() for values in found.values()]  # Keras numbers the layers of a second model on


def test_weights_checkpoints_history_and_audit_are_those_of_a_loop_that_waits(columns, tmp_path, ahead, request):
    stopping = EarlyStopping(metric="loss", patience=1, mode="min", min_delta=10.0)
    late = trained(columns, tmp_path / "late", eval_every_steps=14, early_stopping=stopping)
    assert ahead[0] >= 4, "calls must have overlapped"
    request.getfixturevalue("monkeypatch").undo()
    there = trained(columns, tmp_path / "there", eval_every_steps=14, early_stopping=stopping)
    assert late.stopped_early and (late.steps, late.resumed_from) == (there.steps, there.resumed_from)
    for one, other in zip(late.model.get_weights(), there.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    timed = ("examples_per_s", "input_wait_share", "step_ms_p50", "step_ms_p95")
    plain = [[{k: v for k, v in h.items() if not k.endswith(timed)} for h in r.history] for r in (late, there)]
    assert json.dumps(plain[0]) == json.dumps(plain[1])
    steps = checkpoint_steps(str(tmp_path / "there"))
    assert checkpoint_steps(str(tmp_path / "late")) == steps
    for step in steps:
        one, other = tensors(tmp_path / "late", step), tensors(tmp_path / "there", step)
        assert len(one) == 2 and all(map(np.array_equal, one, other))
    seen = [read_audit(str(tmp_path / name)) for name in ("late", "there")]
    assert seen[0].keys() == seen[1].keys() == set(range(late.steps))
    assert all(np.array_equal(seen[0][step], seen[1][step]) for step in seen[0])


def test_a_loss_that_is_no_number_stops_with_its_own_step_and_the_last_good_checkpoint(with_nan, tmp_path, ahead):
    from engine import Dataset

    data = Dataset.open(str(with_nan))
    step = step_of_bad_row(data)
    with pytest.raises(TrainingDiverged) as stopped:
        Trainer(config(tmp_path, checkpoint=CheckpointConfig(every_steps=4, keep=9)), build(), data).fit()
    assert stopped.value.step == step + 1 and f"record {BAD_ROW}" in str(stopped.value)
    assert max(checkpoint_steps(str(tmp_path))) <= step and ahead[0] > 0
