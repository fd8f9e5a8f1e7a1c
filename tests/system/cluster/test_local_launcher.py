"""Jobs as processes of this machine: states, restarts, logs, and that nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import JobSpec, JobState, LauncherError, SecretEnv, Volume, launcher
from cluster.launchers import JobNotFound
from cluster.launchers.local.record import read_runner, read_status
from engine import ConfigError
from engine.machine.processes import alive, process_mark
from tests.support.eventually import eventually
from trainers.supervision.tf_config import task_from_json


@pytest.fixture
def place(tmp_path):
    jobs = launcher("local", directory=str(tmp_path / "jobs"))
    yield jobs
    for status in jobs.list():
        jobs.cancel(status.name)


def job(name: str, script: str, **changes) -> JobSpec:
    return JobSpec(**{"name": name, "command": ("sh", "-c", script), "grace_s": 1, "max_restarts": 0, **changes})


def test_members_get_their_places_and_their_lines_are_told_apart(place):
    # Parameter servers are ended when training is: the trainers stay until all have written.
    handle = place.submit(
        job("two", 'echo "$TF_CONFIG"; echo "$FULLPASS_RUN_ID"; sleep 2', roles={"chief": 1, "worker": 2, "ps": 1})
    )
    lines: dict[tuple[str, int], list[str]] = {}
    for line in handle.logs(follow=True):
        lines.setdefault((line.role, line.index), []).append(line.text)
    assert handle.wait(poll_s=0.05).state is JobState.SUCCEEDED
    tasks = [task_from_json(lines[member][0]) for member in (("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0))]
    assert [(task.type, task.index) for task in tasks] == [("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0)]
    assert all(task.cluster == tasks[0].cluster for task in tasks)
    assert len({texts[1] for texts in lines.values()}) == 1
    assert [line.text for line in handle.logs(role="worker", index=1, tail=1)] == [lines["worker", 1][1]]


def test_a_member_that_fails_is_started_again_and_nothing_is_lost(place, tmp_path):
    mark = tmp_path / "once"
    script = f"echo start; if [ ! -e {mark} ]; then touch {mark}; exit 3; fi; echo done"
    handle = place.submit(job("again", script, max_restarts=1))
    assert [line.text for line in handle.logs(follow=True)] == ["start", "start", "done"]
    status = handle.wait(poll_s=0.05)
    assert status.state is JobState.SUCCEEDED and status.tasks[0].restarts == 1


def test_failure_says_the_last_lines_of_the_last_start(place):
    handle = place.submit(job("bad", "echo 'no column age'; exit 3", roles={"worker": 1}, max_restarts=1))
    status = handle.wait(poll_s=0.05)
    assert status.state is JobState.FAILED
    assert status.message == "worker-0: exit code 3; its last lines: no column age"


def test_wrong_input_is_not_tried_again(place):
    status = place.submit(job("wrong", "exit 2", max_restarts=5)).wait(poll_s=0.05)
    assert status.state is JobState.FAILED and status.tasks[0].restarts == 0


def test_a_program_that_is_not_there_is_named(place):
    status = place.submit(JobSpec(name="absent", command=("/no/such/program",))).wait(poll_s=0.05)
    assert status.message == "worker-0: cannot start /no/such/program: No such file or directory"


def test_deadline_ends_the_job(place):
    status = place.submit(job("slow", "sleep 60", timeout_s=1)).wait(poll_s=0.05)
    assert status.state is JobState.FAILED and "deadline exceeded" in status.message


@pytest.mark.parametrize("start", ["sleep 300", "setsid sleep 300"], ids=["same session", "session of its own"])
def test_cancel_ends_every_process_and_removes_the_job(place, tmp_path, start):
    children = tmp_path / "children"
    # A program that ignores SIGTERM and has a child of its own.
    handle = place.submit(job("stubborn", f"trap '' TERM; {start} & echo $! > {children}; echo up; wait; wait"))
    next(handle.logs(follow=True))
    eventually(lambda: children.exists() and children.read_text().strip(), "the child has begun")
    _, marks = read_status(Path(tmp_path / "jobs" / "stubborn"))
    child = process_mark(int(children.read_text()))
    assert alive(child)
    handle.cancel()
    eventually(lambda: not any(alive(mark) for mark in (*marks, child)), "all are gone")
    with pytest.raises(JobNotFound):
        handle.status()


def test_a_killed_runner_is_told_and_cancel_still_cleans_up(place, tmp_path):
    handle = place.submit(job("orphan", "echo up; sleep 300"))
    next(handle.logs(follow=True))
    eventually(lambda: read_status(tmp_path / "jobs" / "orphan")[1], "its member has begun")
    (member,) = read_status(tmp_path / "jobs" / "orphan")[1]
    runner = read_runner(tmp_path / "jobs" / "orphan")
    os.kill(int(runner.partition(":")[0]), signal.SIGKILL)
    eventually(lambda: handle.status().state is JobState.FAILED, "the job has failed")
    assert "its runner was killed" in handle.status().message
    assert alive(member)
    handle.cancel()
    eventually(lambda: not alive(member), "the member is gone")


def test_a_job_outlives_the_command_that_submitted_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FULLPASS_STATE_DIR", str(tmp_path))
    words = [sys.executable, "-m", "cluster.cli.main"]
    script = f"until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo finished"
    submit = [*words, "submit", "--name", "later", "--command", "--", "sh", "-c", script]
    subprocess.run(submit, check=True, capture_output=True)
    assert launcher("local").status("later").state in (JobState.PENDING, JobState.RUNNING)
    (tmp_path / "go").touch()
    followed = subprocess.run([*words, "logs", "-f", "later"], check=True, capture_output=True, text=True)
    assert followed.stdout == "[worker-0] finished\n"
    assert "later succeeded" in followed.stderr
    subprocess.run([*words, "cancel", "later"], check=True, capture_output=True)
    gone = subprocess.run([*words, "status", "later"], capture_output=True, text=True)
    assert gone.returncode == 2 and "no job 'later' was submitted from here" in gone.stderr


def test_the_same_name_twice_is_refused_while_it_runs(place):
    handle = place.submit(job("one", "sleep 60"))
    with pytest.raises(LauncherError, match="cancel it first"):
        place.submit(job("one", "true"))
    handle.cancel()


def test_files_reach_the_members_under_the_path_of_a_pod(place):
    spec = JobSpec(name="files", command=("cat", "/fullpass/files/a.txt"), files={"a.txt": "text\n"})
    handle = place.submit(spec)
    assert [line.text for line in handle.logs(follow=True)] == ["text"]
    assert list(handle.logs(tail=0)) == []
    with pytest.raises(ConfigError, match="files has no member ps-0; its members: worker-0"):
        handle.logs(role="ps", index=0)


def test_what_only_a_cluster_has_is_refused(place, monkeypatch):
    with pytest.raises(ConfigError, match="sees this machine's paths"):
        place.submit(job("claim", "true", volumes=(Volume(mount_path="/data", claim="training"),)))
    secret = SecretEnv(name="FULLPASS_TEST_TOKEN", secret="s", key="k")
    monkeypatch.delenv("FULLPASS_TEST_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="set FULLPASS_TEST_TOKEN"):
        place.submit(job("secret", "true", secrets=(secret,)))
