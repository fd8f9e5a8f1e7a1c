"""The push step after a kill: a pushed model is not pushed twice, a half push is completed."""

import dataclasses
import shutil

import pytest

from cluster.pipeline import (
    DataConfig,
    EvaluateConfig,
    ExportConfig,
    Finished,
    Pipeline,
    PushConfig,
    StepRecord,
    TrainConfig,
)
from cluster.pipeline.step import StepContext
from cluster.pipeline.steps.push import STEP
from trainers.evaluation.result import EvaluationResult
from trainers.export.digest import model_digest


@pytest.fixture
def context(tmp_path):
    """A blessed model and an empty serving directory."""
    model = tmp_path / "export" / "model" / "1"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    result = EvaluationResult(
        model_sha256=model_digest(model),
        model=str(model),
        label="y",
        rows=9,
        overall={"auc": 0.9},
        slices=[],
        baseline=None,
        failures=[],
        judged=True,
    )
    result.save(str(tmp_path / "evaluation.json"))
    empty = {f.name: {} for f in dataclasses.fields(StepRecord)}
    fields = {**empty, "step": "x", "key": "k", "rows_in": 0, "rows_out": 0, "seconds": 0.0, "notes": (), "version": 1}

    def finished(**outputs):
        return Finished(directory=tmp_path, record=StepRecord(**{**fields, "finished_at": "", "outputs": outputs}))

    pipeline = Pipeline(
        name="p",
        module="p.py",
        label="y",
        data=DataConfig(train="", eval=""),
        train=TrainConfig(epochs=1),
        export=ExportConfig(),
        evaluate=EvaluateConfig(),
        push=PushConfig(to=str(tmp_path / "served")),
    )
    return StepContext(
        pipeline=pipeline,
        out=tmp_path,
        before={"export": finished(model="export/model/1"), "evaluate": finished(result="evaluation.json")},
    )


@pytest.fixture
def push(context):
    return lambda: STEP.run(context).info["version"]


def test_push_twice_of_the_same_model_serves_one_version(push, tmp_path):
    assert push() == push() == str(tmp_path / "served" / "1")


def test_push_killed_before_the_version_appeared_is_made_good(push, tmp_path):
    push()
    shutil.rmtree(tmp_path / "served" / "1")
    version = push()
    assert version == str(tmp_path / "served" / "2")
    assert (tmp_path / "served" / "2" / "saved_model.pb").read_bytes() == b"graph"
