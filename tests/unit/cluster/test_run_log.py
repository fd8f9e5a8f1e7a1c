"""One log file a run, `-v`, and what `fullpass train` says at its end."""

from __future__ import annotations

import logging
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.cli.main import main
from engine.core import run_log
from engine.core.progress import Progress
from tests.support.models import classification_columns
from trainers.checkpoints.checkpoint import load_checkpoint

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) [\w-]+  \S.*")
MODULE = """
import keras

def build_model(context):
    inputs = {"x": keras.Input((), name="x")}
    output = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Reshape((1,))(inputs["x"]))
    model = keras.Model(inputs, output)
    model.compile("sgd", "binary_crossentropy")
    return model

def broken(context):
    raise ValueError("my own mistake at s3://key:hidden-word@bucket")
"""


@pytest.fixture
def train(tmp_path):
    """Returns the words of a training of ten steps an epoch."""
    columns = classification_columns()
    pq.write_table(pa.table({"x": columns["x"][:, 0], "y": columns["y"]}), tmp_path / "rows.parquet")
    (tmp_path / "module.py").write_text(MODULE)
    rows = str(tmp_path / "rows.parquet")
    out = str(tmp_path / "run")
    words = ["train", rows, "--eval", rows, "--module", str(tmp_path / "module.py"), "--label", "y", "--out", out]
    return [*words, "--batch-size", "64", "--epochs", "2"]


def test_train_says_more_with_v_keeps_all_of_it_and_ends_with_a_table(train, tmp_path, capfd):
    before = logging.getLogger().handlers[:], logging.getLogger("trainers").level
    best = ["--set", 'early_stopping={"metric": "loss", "patience": 5}', "--set", "log_every_steps=5"]
    assert main(["-v", *train, *best]) == 0
    out, err = capfd.readouterr()
    table = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert table["steps"] == "20 (2 epochs), started at 0"
    assert re.fullmatch(r"[\d,]+ examples/s", table["speed"])
    kinds = re.findall(r"(\w+) \d+\.\d s", table["time"])
    assert {"start"} <= set(kinds) <= {"start", "input", "compute", "evaluate", "save"}
    assert load_checkpoint(table["checkpoint"]).step == 20 and load_checkpoint(table["best"]).step in (10, 20)
    assert "loss 0." in table["metrics"] and "loss 0." in table["eval_metrics"]

    (log,) = (tmp_path / "run" / "logs").glob("run-*.log")
    text = log.read_text()
    lines = text.splitlines()
    assert all(LINE.fullmatch(line) for line in lines), text
    for line in out.splitlines():
        assert f"INFO train  {line}\n" in text
    for said in (
        "data: 640 records in 1 files of ",
        "train, step 10: loss ",
        "eval, step 20: ",
        "checkpoint of step 20 is in",
    ):
        assert f"INFO train  {said}" in text and f"INFO train  {said}" in err
    assert "train makes 20 steps of 64 examples" in text and err.count("train makes 20 steps") == 1
    assert "train: done, 20 steps in" in text and lines[-1].endswith("INFO -  ends with exit code 0")
    assert (logging.getLogger().handlers[:], logging.getLogger("trainers").level) == before


def test_error_names_the_log_which_has_the_traceback_without_credentials(train, tmp_path, capfd):
    assert main([*train, "--build-model", "broken"]) == 2
    err = capfd.readouterr().err
    (log,) = (tmp_path / "run" / "logs").glob("run-*.log")
    last = err.splitlines()[-1]
    assert last.startswith("fullpass: error: ") and last.endswith(
        f"broken raised ValueError: my own mistake at s3://***@bucket; log {log}"
    )
    text = log.read_text()
    assert "ERROR train  error: " in text and text.endswith("ends with exit code 2\n")
    assert "Traceback (most recent call last)" in text and 'module.py", line 12, in broken' in text
    assert "hidden-word" not in text + err and "INFO" not in err and "Traceback" not in err


def test_warning_is_shown_once_and_kept_once(tmp_path, capfd):
    with run_log.recording():
        path = run_log.begin(tmp_path)
        logging.getLogger("engine.some").warning("odd %d", 7)
        logging.getLogger("engine.some").info("as planned")
        logging.getLogger("library").info("news")
        with run_log.in_step("export"):
            run_log.tell("one\ntwo")
    assert capfd.readouterr().err == "odd 7\none\ntwo\n"
    kept = [line.split(" ", 1)[1] for line in path.read_text().splitlines()]
    assert kept == ["WARNING -  odd 7", "INFO -  as planned", "INFO export  one", "INFO export  two"]
    run_log.record("after the run")
    assert "after" not in path.read_text() and run_log.log_path() is None


def test_newest_logs_stay_and_other_files_are_left_alone(tmp_path):
    for number in range(30):
        (tmp_path / f"run-202001{number + 1:02d}T000000000Z-1.log").touch()
    (tmp_path / "events.out.tfevents.1").touch()
    (tmp_path / "run-of-mine.log").touch()
    with run_log.recording():
        path = run_log.begin(tmp_path)
    logs = sorted(tmp_path.glob("run-20*.log"))
    assert len(logs) == run_log.KEPT and logs[-1] == path and logs[0].name == "run-20200112T000000000Z-1.log"
    assert (tmp_path / "events.out.tfevents.1").exists() and (tmp_path / "run-of-mine.log").exists()


def test_log_that_cannot_be_written_stops_nothing(tmp_path, capfd):
    (tmp_path / "file").touch()
    with run_log.recording():
        assert run_log.begin(tmp_path / "file" / "logs") is None
        run_log.tell("goes on")
    assert re.fullmatch(r"no log file in .*/file/logs: Not a directory\ngoes on\n", capfd.readouterr().err)


def test_progress_is_kept_though_nothing_is_shown(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("FULLPASS_PROGRESS", "0")
    with run_log.recording():
        path = run_log.begin(tmp_path)
        with Progress("export", 3, "parts") as progress:
            progress.advance(3)
        with pytest.raises(KeyError), Progress("predict", 9) as progress:
            progress.advance(4)
            raise KeyError
    assert capfd.readouterr().err == ""
    done, broken = path.read_text().splitlines()
    assert "export: done, 3 parts in " in done and "predict: ended at 4 rows in " in broken
