"""Which steps run and why, on steps small enough to see through."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

import cluster.pipeline.execute as runner
from cluster.pipeline import DataConfig, Pipeline, PipelineError, TransformConfig, run_pipeline
from cluster.pipeline.config import AnalyzeConfig, TrainConfig
from cluster.pipeline.step import Counts, Step, StepContext, StepResult
from engine.core.errors import ConfigError, DataError


@pytest.fixture
def ran(monkeypatch):
    """Three steps that write what they read, in place of the real ones; the list tells which ran."""
    calls = []

    def work(name, previous):
        def run(context: StepContext) -> StepResult:
            calls.append(name)
            text = name if previous is None else Path(context.output(previous, "text")).read_text() + " " + name
            mark = context.out / "mark"
            text += " resumed" if mark.exists() else ""
            mark.write_text("here")
            (context.out / "text").write_text(text)
            if name == os.environ.get("FAIL"):
                raise DataError("bad row", path="x", record=3)
            lost = int(os.environ.get("LOST", 0))
            return StepResult(
                counts=Counts(rows_in=5, rows_out=4 - lost, set_aside={"odd": 1}), outputs={"text": "text"}
            )

        return run

    steps = (
        Step(name="analyze", after=(), run=work("analyze", None), inputs=lambda p: {"train": p.data.train}),
        Step(name="transform", after=("analyze",), run=work("transform", "analyze")),
        Step(
            name="train", after=("transform",), run=work("train", "transform"), resumable=True, cosmetic=("directory",)
        ),
    )
    monkeypatch.setattr(runner, "STEPS", steps)
    return calls


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(
        name="p",
        module=str(tmp_path / "none.py"),
        label="y",
        work_dir=str(tmp_path / "work"),
        data=DataConfig(train="a", eval="b"),
        analyze=AnalyzeConfig(),
        transform=TransformConfig(),
        train=TrainConfig(epochs=1),
    )


def run(pipeline, ran, **options):
    ran.clear()
    lines = []
    results = run_pipeline(pipeline, say=lines.append, **options)
    return results, list(ran), "\n".join(lines)


ALL = ["analyze", "transform", "train"]


def test_second_run_skips_all_and_gives_the_same_results(pipeline, ran):
    first, names, text = run(pipeline, ran)
    assert names == ALL
    assert "5 rows in = 4 out + 1 set aside (odd)" in text
    again, names, text = run(pipeline, ran)
    assert names == []
    assert text.count("skipped, finished") == 3
    assert {k: f.directory for k, f in again.items()} == {k: f.directory for k, f in first.items()}
    assert Path(again["train"].output("text")).read_text() == "analyze transform train"


def test_changed_setting_runs_that_step_and_those_after_it(pipeline, ran):
    run(pipeline, ran)
    changed = dataclasses.replace(pipeline, transform=TransformConfig(num_shards=3))
    _, names, text = run(changed, ran)
    assert names == ["transform", "train"]
    assert "changed: transform.num_shards null → 3" in text
    _, names, _ = run(pipeline, ran)
    assert names == [], "the results of the earlier settings are still there"


def test_changed_input_runs_all(pipeline, ran):
    run(pipeline, ran)
    _, names, text = run(dataclasses.replace(pipeline, data=DataConfig(train="c", eval="b")), ran)
    assert names == ALL
    assert "changed: input train a → c" in text


def test_cosmetic_setting_runs_nothing(pipeline, ran):
    run(pipeline, ran)
    assert run(dataclasses.replace(pipeline, train=TrainConfig(epochs=1, directory="other")), ran)[1] == []


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("author={}", "changed: train.hyperparameters"),
        ("token={}", "changed: a credential in a URI, which is not shown"),
    ],
)
def test_a_changed_part_of_a_uri_runs_the_step_though_it_may_not_be_shown(pipeline, ran, query, shown):
    def reading(user):
        table = f"s3://bucket/table?{query.format(user)}"
        return dataclasses.replace(pipeline, train=TrainConfig(epochs=1, hyperparameters={"table": table}))

    run(reading("somebody"), ran)
    _, names, text = run(reading("another"), ran)
    assert names == ["train"] and shown in text and "another" not in text.replace("author=another", "")
    assert run(reading("another"), ran)[1] == []


@pytest.mark.parametrize(("options", "expected"), [({"force": True}, ALL), ({"start": "transform"}, ALL[1:])])
def test_force_and_start_run_finished_steps_again(pipeline, ran, options, expected):
    run(pipeline, ran)
    assert run(pipeline, ran, **options)[1] == expected
    assert run(pipeline, ran)[1] == []


def test_start_at_unknown_step_names_the_steps(pipeline, ran):
    with pytest.raises(ConfigError, match=r"--from push: .* analyze, transform, train"):
        run(pipeline, ran, start="push")


def test_dry_run_changes_nothing_and_says_why(pipeline, ran, tmp_path):
    _, names, text = run(pipeline, ran, dry_run=True)
    assert names == []
    assert "run   not finished yet" in text and "run   analyze runs" in text
    assert not (tmp_path / "work").exists()


def test_failed_step_leaves_earlier_results_and_runs_again(pipeline, ran, monkeypatch):
    first, _, _ = run(pipeline, ran)
    monkeypatch.setenv("FAIL", "transform")
    with pytest.raises(PipelineError, match="transform: x, record 3: bad row"):
        run(pipeline, ran, force=True)
    assert Path(first["train"].output("text")).read_text() == "analyze transform train"
    monkeypatch.delenv("FAIL")
    _, names, text = run(pipeline, ran)
    assert names == ["transform", "train"], "analyze ran again, so what was made from its old result does not count"
    assert "the steps before it ran again since" in text


def test_unfinished_resumable_step_goes_on_in_its_directory(pipeline, ran, monkeypatch):
    monkeypatch.setenv("FAIL", "train")
    with pytest.raises(PipelineError):
        run(pipeline, ran)
    monkeypatch.delenv("FAIL")
    results, names, _ = run(pipeline, ran)
    assert names == ["train"]
    assert Path(results["train"].output("text")).read_text() == "analyze transform train resumed"


def test_unfinished_step_that_cannot_resume_starts_clean(pipeline, ran, monkeypatch):
    monkeypatch.setenv("FAIL", "analyze")
    with pytest.raises(PipelineError):
        run(pipeline, ran)
    monkeypatch.delenv("FAIL")
    results, _, _ = run(pipeline, ran)
    assert Path(results["analyze"].output("text")).read_text() == "analyze"


def test_lost_row_fails_the_step(pipeline, ran, monkeypatch):
    monkeypatch.setenv("LOST", "1")
    with pytest.raises(PipelineError, match="analyze lost or repeated rows: 5 rows in = 3 out"):
        run(pipeline, ran)


@pytest.mark.parametrize("damage", ["cut", "gone", "record"])
def test_damaged_result_is_not_taken_for_finished(pipeline, ran, damage):
    results, _, _ = run(pipeline, ran)
    directory = results["transform"].directory
    if damage == "cut":
        (directory / "text").write_text("")
    elif damage == "gone":
        (directory / "text").unlink()
    else:
        path = directory / "fullpass-step.json"
        path.write_text(path.read_text()[:-20])
    assert run(pipeline, ran)[1] == ["transform", "train"]


def test_old_results_are_deleted_but_the_newest_three(pipeline, ran, tmp_path):
    for shards in range(1, 6):
        run(dataclasses.replace(pipeline, transform=TransformConfig(num_shards=shards)), ran)
    names = [p.name for p in (tmp_path / "work/transform").iterdir() if not p.is_symlink()]
    assert len(names) == 3
    assert (tmp_path / "work/transform/latest").resolve().name in names


def test_second_run_at_once_is_refused(pipeline, ran, tmp_path):
    import fcntl

    (tmp_path / "work").mkdir()
    with open(tmp_path / "work/.lock", "w") as file:
        file.write("4711")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match=r"another run .process 4711. uses "):
            run(pipeline, ran)


def test_work_dir_that_moved_is_still_finished(pipeline, ran, tmp_path):
    run(pipeline, ran)
    shutil.move(tmp_path / "work", tmp_path / "moved")
    assert run(dataclasses.replace(pipeline, work_dir=str(tmp_path / "moved")), ran)[1] == []
