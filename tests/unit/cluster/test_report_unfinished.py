"""Pages about runs that failed, were killed or are running: what of them is said, and that it is gone once they finish."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli.commands import run as run_command
from cluster.cli.main import main
from cluster.pipeline.records import begin_directory
from cluster.report import write_report, write_run_report
from cluster.report.page import page_of, verdict_of
from cluster.report.runs import open_run
from cluster.tracking import track
from engine.core.errors import ConfigError
from engine.machine.lock import holder_of, locked
from tests.support.eventually import eventually
from tests.support.report_run import HOSTILE, finish_step, write_run

ROOT = Path(__file__).parents[3]
# The command with two steps in place of its own: the second trains, fails, or waits, as the environment says.
PROGRAM = """
import logging, os, sys, time
from pathlib import Path
import cluster.pipeline.execute as execute
import engine.machine.quiet as quiet
from cluster.cli.commands import run as run_command
from cluster.cli.main import main
from cluster.pipeline.step import Counts, Step, StepResult
from engine.core.errors import DataError

def ingest(context):
    return StepResult(counts=Counts(rows_in=8, rows_out=8, set_aside={}), outputs={})

def train(context):
    (context.out / "run").mkdir(exist_ok=True)
    if os.environ["STEP"] == "fails":
        raise DataError("bad <b>row", path="x", record=3)
    if os.environ["STEP"] == "waits":
        logging.getLogger("library").error("failed call to cuInit")
        Path(context.pipeline.work_dir, "waits").touch()
        time.sleep(3600)
    return StepResult(counts=Counts(rows_in=8, rows_out=8, set_aside={}), outputs={"checkpoints": "run"})

execute.STEPS = (
    Step(name="ingest", after=(), run=ingest, inputs=lambda p: {}),
    Step(name="train", after=("ingest",), run=train, resumable=True),
)
quiet.import_tensorflow = lambda: os.environ["STEP"] == "dies" and os.kill(os.getpid(), 9)
sys.exit(main(["run", "p.toml"]))
"""
PIPELINE = """
[pipeline]
name = "p"
module = "p.py"
label = "y"
work_dir = "work"
[ingest]
sources = { rows = "rows.csv" }
[train]
epochs = 1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "p.toml").write_text(PIPELINE)
    (tmp_path / "p.py").write_text("")
    (tmp_path / "rows.csv").write_text("x,y\n1,0\n")
    return tmp_path


def run(folder, step):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STEP": step}
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    _, errors = process.communicate()
    return process.returncode, errors


def verdict(folder):
    return verdict_of(open_run(folder / "work"))


def test_run_that_failed_was_killed_or_goes_on_is_said_with_step_and_reason(folder):
    code, errors = finish(run(folder, "fails"))
    assert code == 2, errors
    assert verdict(folder).state == "bad" and verdict(folder).text == "Stopped in train: x, record 3: bad <b>row"
    page = write_report([folder / "work"], folder / "page.html")
    assert "bad &lt;b&gt;row" in page.read_text() and "<b>row" not in page.read_text()
    process = run(folder, "waits")
    try:
        eventually(lambda: (folder / "work" / "waits").exists() or process.poll() is not None, "it waits in its step")
        assert process.poll() is None, process.stderr.read()
        running = verdict(folder)
        assert running.state == "open" and running.text.startswith(
            f"Still running: train (process {process.pid}), since 2"
        )
    finally:
        process.send_signal(signal.SIGKILL)
        finish(process)
    killed = verdict(folder)
    assert killed.state == "bad" and killed.text.startswith(
        "Stopped in train; its log gives no reason, and no process is seen to work on it: it was killed"
    )
    code, errors = finish(run(folder, "trains"))
    assert code == 0, errors
    assert open_run(folder / "work").unfinished is None and verdict(folder).text.startswith("Not evaluated")
    assert "Stopped" not in (folder / "work" / "report.html").read_text()


def test_blessing_of_earlier_results_is_none_of_a_run_that_stopped_before_it(tmp_path):
    work = write_run(tmp_path / "run", statistics=False)
    page = write_run_report(work)
    begin_directory(work / "train", "wide".ljust(12, "0"), resumable=True)
    found = open_run(work)
    assert found.unfinished is not None and found.earlier == {"export", "evaluate"}
    stopped = verdict_of(found)
    assert stopped.state == "bad" and stopped.text == "Stopped in train; no log says why"
    assert stopped.reasons[0].startswith("of the results before: Blessed") and "earlier results" in stopped.reasons[1]
    (chain,) = [b for s in page_of([found]).sections if s.name == "lineage" for b in s.blocks if b.kind == "chain"]
    assert chain.lines[-1][0::2] == ("train", "not finished")
    assert write_run_report(work) == page and "Stopped in train" in page.read_text(), (
        "the page of before is no longer so"
    )
    with pytest.raises(ConfigError, match=r"is not finished\. Stopped in train"):
        track(work, "mlflow:x")
    finish_step(work, "train", lambda directory: {}, before=["transform"], key="wide")
    assert open_run(work).unfinished is None


def test_a_run_that_skips_steps_and_is_killed_leaves_said_what_stopped_before(folder):
    assert finish(run(folder, "fails"))[0] == 2
    assert finish(run(folder, "dies"))[0] == -signal.SIGKILL
    assert verdict(folder).text == "Stopped in train: x, record 3: bad <b>row"


def test_step_that_later_runs_left_out_is_none_that_stopped(folder):
    assert finish(run(folder, "fails"))[0] == 2
    (folder / "p.toml").write_text(PIPELINE.partition("[train]")[0])
    code, errors = finish(run(folder, "trains"))
    assert code == 0, errors
    assert open_run(folder / "work").unfinished is None


def test_what_began_where_nothing_is_finished_is_said(tmp_path):
    begin_directory(tmp_path / "stats", "a" * 12, resumable=False)
    assert open_run(tmp_path).unfinished.step == "stats" and not open_run(tmp_path).steps
    write_report([tmp_path], tmp_path / "nothing-finished.html")
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "nothing-finished.md")]) == 0
    text = (tmp_path / "nothing-finished.md").read_text()
    assert "❌ **Stopped in stats; no log says why**" in text and "No step is finished yet" in text


def test_a_run_that_finished_is_recorded_and_shown_while_the_next_one_works(tmp_path, monkeypatch, capsys):
    work = write_run(tmp_path / "run", statistics=False)
    monkeypatch.setattr("cluster.tracking.mlflow_run.record_mlflow", lambda run, *_: f"recorded {run.unfinished}")
    with locked(work):
        page = run_command.write_report_page(str(work))
        run_command._track(str(work), "mlflow:x", "p", page)
    assert "recorded None" in capsys.readouterr().out and "Still running" not in page.read_text()


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_none_that_is_damaged(tmp_path, monkeypatch):
    work = write_run(tmp_path / "run", statistics=False)
    checkpoints = begin_directory(work / "train", "wide".ljust(12, "0"), resumable=True) / "run" / "checkpoints"

    def save(number):
        (checkpoints / f"step-{number}").mkdir(parents=True)
        (checkpoints / f"step-{number}" / "state.json").write_text(f'{{"step": {number}}}')

    save(1)
    read = Path.read_text

    def replaced(path, *words, **names):
        if path.parent.name == "step-1":
            path.unlink()
            save(2)
        return read(path, *words, **names)

    monkeypatch.setattr(Path, "read_text", replaced)
    assert open_run(work).train_state == {"step": 2}


def test_curves_are_of_the_training_that_is_not_finished(tmp_path):
    work = write_run(tmp_path / "run", statistics=False)
    directory = begin_directory(work / "train", "wide".ljust(12, "0"), resumable=True)
    found = open_run(work)
    assert found.training == directory / "run" and found.train_state == {}
    page = page_of([found])
    assert not [tile for tile in page.tiles if tile[0] == "rows trained on"]
    assert next(s.missing for s in page.sections if s.name == "training")


def test_log_that_was_tampered_with_stays_text(tmp_path):
    directory = begin_directory(tmp_path / "train", "a" * 12, resumable=True)
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "run-20261127T100000000Z-7.log"
    lines = (f"INFO train  writes into train/{directory.name}", f"ERROR train  error: train: {HOSTILE}", "INFO -  ends")
    log.write_bytes("".join(f"2026-11-27T10:00:00.000Z {line}\n" for line in lines).encode() + b"\xff\n")
    (tmp_path / "logs" / "run-20261127T110000000Z-8.log").mkdir()
    assert verdict_of(open_run(tmp_path)).text == f"Stopped in train: {HOSTILE}"
    assert HOSTILE not in write_report([tmp_path], tmp_path / "page.html").read_text()


def test_lock_says_who_holds_it_and_asking_changes_nothing(tmp_path):
    assert holder_of(tmp_path) is None and not list(tmp_path.iterdir())
    with locked(tmp_path):
        assert holder_of(tmp_path) == str(os.getpid())
        with open(tmp_path / ".lock") as file:
            assert file.read() == str(os.getpid())
    assert holder_of(tmp_path) is None
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    assert holder_of(tmp_path) is None
