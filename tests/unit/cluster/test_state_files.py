"""What jobs and steps keep on disk, damaged or forged: found, named, never believed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys

import pytest

from cluster.cli.main import main
from cluster.launchers.local import LocalLauncher
from cluster.launchers.local.record import read_runner, read_status, write_status
from cluster.launchers.state import recall, remember
from cluster.launchers.status import JobState, JobStatus, TaskStatus
from cluster.pipeline.records import RECORD, StepRecord, commit, finished_steps, read_finished
from engine import DataError
from engine.core.environment import GROUP_SECRET_FILE
from engine.machine.processes import alive
from trainers.export.card import CARD_JSON, config_digest
from trainers.export.digest import model_digest
from trainers.serving.lineage import lineage
from transforms.output.provenance import read_provenance

WORDS = ["", "[]", "null", "1", '"x"', "{}", "[" * 1_000_000, '{"version":' * 100_000, "\0", '{"version":1e999}', "NaN"]


def spoilt(text, seed=0):
    """Yields texts that were this one: words, cuts, flipped bits, and each value in it as another."""
    yield from (word.encode() for word in WORDS)
    yield from (text.encode()[:cut] for cut in range(0, len(text), max(1, len(text) // 20)))
    chosen = random.Random(seed)
    for _ in range(200):
        data = bytearray(text.encode())
        data[chosen.randrange(len(data))] ^= 1 << chosen.randrange(8)
        yield bytes(data)
    for value in (None, [], {}, True, -1, 10**400, float("nan"), "../../../etc/passwd", "\ud800", [[[]]]):
        for found in changed(json.loads(text), value):
            yield json.dumps(found).encode()
    yield text.replace("{", '{"version": 1, "version": 2,', 1).encode()


def changed(whole, value):
    """Yields copies of a JSON value in which one part is another."""
    if isinstance(whole, dict):
        for key in whole:
            yield {**whole, key: value}
            yield from ({**whole, key: other} for other in changed(whole[key], value))
            yield {name: part for name, part in whole.items() if name != key}
    elif isinstance(whole, list):
        for index, part in enumerate(whole):
            yield from ([*whole[:index], other, *whole[index + 1 :]] for other in changed(part, value))


def read_or_refusal(read, path):
    """Returns what a file holds; None where it was refused by its name."""
    try:
        return read()
    except DataError as refused:
        error = refused
    assert str(error).startswith(str(path))
    return None


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("FULLPASS_STATE_DIR", str(tmp_path))
    folder = tmp_path / "jobs" / "one"
    folder.mkdir(parents=True)
    tasks = (TaskStatus(role="chief", index=0, state=JobState.RUNNING, where="process 12"),)
    write_status(folder, JobStatus(name="one", launcher="local", state=JobState.RUNNING, tasks=tasks), ["9999999999:2"])
    return folder


def test_a_job_state_is_whole_or_refused_by_name(jobs):
    path = jobs / "status.json"
    text = path.read_text()
    before = read_status(jobs)
    for data in spoilt(text):
        path.write_bytes(data)
        found = read_or_refusal(lambda: read_status(jobs), path)
        if (
            found is not None
        ):  # a flipped letter of a message or name; nothing in it is of another type, or a path elsewhere
            status, marks = found
            assert all(isinstance(mark, str) and not alive(mark) for mark in marks)
            assert all(task.role in ("chief", "worker", "ps", "evaluator") and task.index >= 0 for task in status.tasks)
            assert [type(value) for value in vars(status).values()] == [
                type(value) for value in vars(before[0]).values()
            ]


def test_a_damaged_job_hides_no_other_and_can_be_cancelled(jobs, capsys):
    other = jobs.parent / "two"
    other.mkdir()
    write_status(other, JobStatus(name="two", launcher="local", state=JobState.SUCCEEDED), [])
    (jobs / "status.json").write_text("[]")
    assert main(["status", "one", "--launcher", "local"]) == 2
    assert "status.json: is not the state of a job" in capsys.readouterr().err
    assert main(["jobs"]) == 0
    out = capsys.readouterr().out
    assert "two  succeeded" in out
    assert "one  failed" in out
    for runner in ("1:", "²:5", "9" * 5000 + ":1", "-1:3", "\0"):
        (jobs / "runner").write_text(runner)
        assert not alive(read_runner(jobs))
    assert main(["cancel", "one", "--launcher", "local"]) == 0
    assert [job.name for job in LocalLauncher().list()] == ["two"]


def test_a_damaged_job_without_its_runner_is_cancelled_with_its_members(jobs):
    """Nothing but their own environment says whose they are."""
    (jobs / "status.json").write_text("[]")
    (jobs / "runner").write_text("9999999999:2")
    words = [sys.executable, "-c", "import time; time.sleep(600)"]
    secrets = (jobs / "group-secret", jobs.parent / "two" / "group-secret")
    member, other = (
        subprocess.Popen(words, env={**os.environ, GROUP_SECRET_FILE.name: str(secret)}) for secret in secrets
    )
    try:
        LocalLauncher().cancel("one")
        assert member.wait(60) == -signal.SIGKILL
        assert other.poll() is None and not jobs.exists()
    finally:
        for each in (member, other):
            each.kill()
            each.wait()


@pytest.mark.parametrize("name", ["jobs/two", "../jobs/two", "/two"])
def test_a_name_with_a_path_is_the_job_of_its_last_part(jobs, name):
    other = jobs.parent / "two"
    other.mkdir()
    write_status(other, JobStatus(name="two", launcher="local", state=JobState.SUCCEEDED), [])
    LocalLauncher().cancel(name)
    assert not other.exists()
    assert jobs.exists()


def test_where_a_job_was_submitted_is_whole_or_refused_by_name(jobs, tmp_path, capsys):
    remember("far", "kubernetes", {"namespace": "ml"})
    path = tmp_path / "submitted" / "far.json"
    assert recall("far") == ("kubernetes", {"namespace": "ml"})
    for data in spoilt(path.read_text()):
        path.write_bytes(data)
        found = read_or_refusal(lambda: recall("far"), path)
        if found is not None:
            launcher, options = found
            assert isinstance(launcher, str)
            assert all(isinstance(value, str) for value in options.values())
    path.write_text("null")
    assert main(["logs", "far"]) == 2
    assert "far.json: does not say where a job was submitted" in capsys.readouterr().err


def record_of(directory):
    given = {"step": "train", "key": "k" * 64, "parts": {}, "before": {}, "rows_in": 1, "rows_out": 1, "set_aside": {}}
    facts = {"seconds": 1.0, "notes": ("n",), "info": {"loss": 0.5}, "files": {}, "finished_at": "2026-01-01T00:00:00Z"}
    (directory / "result").mkdir(parents=True)
    (directory / "result" / "data").write_text("data")
    return commit(directory, StepRecord(**given, **facts, outputs={"model": "result"}))


def sealed(data):
    """The text of a record with a checksum that holds, as whoever forges one writes it."""
    body = {key: value for key, value in data.items() if key != "sha256"}
    return json.dumps({**body, "sha256": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()})


def test_a_step_record_is_whole_or_counts_as_none(tmp_path):
    directory = tmp_path / "train" / "kkkk-1"
    whole = record_of(directory)
    text = (directory / RECORD).read_text()
    for data in spoilt(text):
        (directory / RECORD).write_bytes(data)
        found = read_finished(directory)
        assert found is None or found.record == whole.record
        assert finished_steps(tmp_path / "train") in ([], [whole])


def test_a_forged_step_record_leads_nowhere_else(tmp_path):
    directory = tmp_path / "train" / "kkkk-1"
    record_of(directory)
    text = (directory / RECORD).read_text()
    data = json.loads(text)
    (directory / RECORD).write_text(sealed(data))
    assert read_finished(directory) is not None
    outside = ("/etc", "../other", "result/../../other", "a\0b")
    forged = [{**data, "outputs": {"model": path}} for path in outside]
    forged += [{**data, "files": {path: 1}} for path in outside]
    forged += [
        {**data, key: value} for key in data if key != "sha256" for value in (None, 7.5, [1], {"a": [1]}, 10**400)
    ]
    for each in forged:
        (directory / RECORD).write_text(sealed(each))
        found = read_finished(directory)
        assert found is None or (found.damage() is None and found.output("model") == str(directory / "result")), each


def test_a_model_card_is_whole_or_refused_by_name_and_leads_nowhere(tmp_path):
    version = tmp_path / "3"
    (version / "assets.extra").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"model")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.mkfifo(elsewhere / "pipe")  # who reads it waits for ever
    config = {"steps": 3}
    card = {
        "version": 1,
        "sha256": model_digest(version),
        "config": config,
        "config_sha256": config_digest(config),
        "model": {"class": "m.Model", "parameters": 4},
        "code": {"fullpass": "1", "commit": "abc", "uncommitted_changes": False},
        "checkpoint": {"step": 3, "sha256": "0", "path": str(elsewhere)},
        "transform_graph": {"sha256": "0", "path": str(elsewhere)},
        "data": {"manifest": "0", "records": 5, "files": 1},
    }
    path = version / CARD_JSON
    text = json.dumps(card)
    path.write_text(text)
    before = {link.name: link.holds for link in lineage(version)}
    assert before["model"] and before["configuration"] and before["transform graph"] is None
    for data in spoilt(text):
        path.write_bytes(data)
        found = read_or_refusal(lambda: lineage(version), path)
        assert found is None or all(str(link) for link in found)


def test_what_a_graph_was_made_of_is_whole_or_refused_by_name(tmp_path):
    facts = {"version": 1, "fullpass": "1.0", "data": {"manifest": "abc", "records": 5, "files": 1}}
    path = tmp_path / "fullpass_provenance.json"
    path.write_text(json.dumps(facts))
    assert read_provenance(tmp_path) == facts
    for data in spoilt(json.dumps(facts)):
        path.write_bytes(data)
        found = read_or_refusal(lambda: read_provenance(tmp_path), path)
        if found is not None:
            assert f"{found['data']['manifest']}, {found['data']['records']:,} records by {found['fullpass']}"
