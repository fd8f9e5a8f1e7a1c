"""The verbs of the Ray launcher on a real cluster of two raylets, with small programs in place of training."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path

import pytest

from cluster import JobSpec
from cluster.launchers import JobNotFound, JobState, LauncherError, launcher
from cluster.spec import Resources
from engine.core.errors import ConfigError
from tests.support.eventually import eventually

pytestmark = pytest.mark.ray
SMALL = Resources(cpu="1", memory="256Mi")


def job(name: str, script: str, **settings) -> JobSpec:
    values = {"roles": {"worker": 2}, "resources": SMALL, "grace_s": 2, **settings}
    return JobSpec(name=name, command=("python", "-c", script), **values)


def test_job_runs_on_both_nodes_with_one_config_and_its_logs_come_back(ray_launcher):
    import ray

    script = "import os; print(os.environ['TF_CONFIG']); print('index', os.environ['FULLPASS_INDEX'])"
    handle = ray_launcher.submit(job("both", script))
    status = handle.wait(timeout_s=120, poll_s=0.2)
    assert status.state is JobState.SUCCEEDED, status
    assert len({task.where.split("node ")[1] for task in status.tasks}) == 2
    lines = list(handle.logs(follow=True))
    configs = [json.loads(line.text) for line in lines if line.text.startswith("{")]
    assert configs[0]["cluster"] == configs[1]["cluster"]
    assert sorted(c["task"]["index"] for c in configs) == [0, 1]
    assert sorted(line.text for line in lines if line.text.startswith("index")) == ["index 0", "index 1"]
    assert [line.text for line in handle.logs(role="worker", index=1, tail=1)] == ["index 1"]
    (folder,) = Path(ray.get_runtime_context().get_temp_dir()).glob(
        f"{ray.get_runtime_context().get_session_name()}/logs/fullpass/both-*"
    )
    assert folder.stat().st_mode & 0o777 == 0o700, "what programs print is for their user"


def test_program_that_crashes_twice_is_started_again_in_place(ray_launcher, tmp_path):
    script = f"""
import os, sys
path = {str(tmp_path)!r} + "/" + os.environ["FULLPASS_INDEX"]
open(path, "a").write("x")
if os.environ["FULLPASS_INDEX"] == "1" and os.path.getsize(path) < 3: os.kill(os.getpid(), 9)
"""
    status = ray_launcher.submit(job("crashes", script)).wait(timeout_s=120, poll_s=0.2)
    assert status.state is JobState.SUCCEEDED, status
    assert [task.restarts for task in status.tasks] == [0, 2]
    assert (tmp_path / "0").read_text() == "x"
    assert (tmp_path / "1").read_text() == "xxx"


def test_program_that_never_works_fails_with_its_last_lines(ray_launcher):
    spec = job("broken", "print('no such table: clicks'); raise SystemExit(1)", max_restarts=1)
    status = ray_launcher.submit(spec).wait(timeout_s=120, poll_s=0.2)
    assert status.state is JobState.FAILED
    assert (
        "exit code 1" in status.message and "no such table: clicks" in status.message and "1 restarts" in status.message
    )


def test_wrong_input_is_not_tried_again(ray_launcher, tmp_path):
    script = f"open({str(tmp_path)!r} + '/n', 'a').write('x'); raise SystemExit(2)"
    status = ray_launcher.submit(job("wrong", script, roles={"worker": 1})).wait(timeout_s=120, poll_s=0.2)
    assert status.state is JobState.FAILED and "exit code 2" in status.message
    assert (tmp_path / "n").read_text() == "x"


def test_deadline_ends_the_job_and_its_programs(ray_launcher, tmp_path):
    script = f"import os, time; open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w'); time.sleep(600)"
    status = ray_launcher.submit(job("slow", script, timeout_s=25)).wait(timeout_s=120, poll_s=0.2)
    assert status.state is JobState.FAILED and "timeout_s = 25" in status.message
    assert_all_dead(tmp_path, 2)


def test_cancel_leaves_no_program_actor_or_placement_group(ray_launcher, tmp_path):
    import ray

    script = f"import os, time; open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w'); time.sleep(600)"
    handle = ray_launcher.submit(job("endless", script))
    eventually(lambda: len(list(tmp_path.iterdir())) == 2, "both have begun", poll_s=0.1)
    handle.cancel()
    assert_all_dead(tmp_path, 2)
    with pytest.raises(JobNotFound, match="endless"):
        handle.status()
    groups = ray.util.placement_group_table().values()
    assert not [g for g in groups if "endless" in g["name"] and g["state"] != "REMOVED"]
    assert not list(Path(tempfile.gettempdir()).glob("fullpass-endless-*")), "the actors' directories are gone"


def test_killed_actor_takes_its_program_along_and_the_group_starts_anew(ray_launcher, tmp_path):
    script = f"""
import os, time
mark = {str(tmp_path)!r} + "/started"
again = os.path.exists(mark)
open({str(tmp_path)!r} + "/pid-" + str(os.getpid()), "w")
print("again" if again else "first", flush=True)
time.sleep(0.5 if again else 600)
"""
    handle = ray_launcher.submit(job("actor", script))
    eventually(lambda: len(list(tmp_path.glob("pid-*"))) == 2, "both have begun", poll_s=0.1)
    # A lost actor's unread words are lost with it.
    eventually(lambda: len(list(handle.logs())) == 2, "both have said something", poll_s=0.1)
    (tmp_path / "started").touch()
    first = list(tmp_path.glob("pid-*"))
    actor_pid = int(handle.status().tasks[1].where.split("pid ")[1].split()[0])
    os.kill(actor_pid, signal.SIGKILL)
    status = handle.wait(timeout_s=120, poll_s=0.2)
    assert status.state is JobState.SUCCEEDED, status
    assert sum(task.restarts for task in status.tasks) == 1
    assert not any(alive(int(path.name.split("-")[1])) for path in first)
    assert [line.text for line in handle.logs(index=1)] == ["first", "again"]


def test_second_job_of_a_name_is_refused(ray_launcher):
    ray_launcher.submit(job("twin", "import time; time.sleep(30)"))
    with pytest.raises(LauncherError, match="'twin' is there already"):
        ray_launcher.submit(job("twin", "pass"))


def test_what_ray_cannot_hold_or_do_is_refused_before_anything_starts(ray_launcher):
    with pytest.raises(LauncherError, match="no node of this Ray cluster can hold a worker"):
        ray_launcher.submit(job("huge", "pass", resources=Resources(cpu="64", memory="1Gi")))
    with pytest.raises(ConfigError, match="priority_class: not supported on Ray"):
        ray_launcher.submit(job("kube", "pass", priority_class="high"))
    with pytest.raises(ConfigError, match="placement = 'NEAR'"):
        launcher("ray", placement="NEAR")
    assert ray_launcher.list() == []


def test_files_of_the_job_reach_its_program(ray_launcher):
    spec = JobSpec(
        name="files",
        command=("python", "/fullpass/files/main.py"),
        files={"main.py": "print('from a file')"},
        roles={"worker": 1},
        resources=SMALL,
    )
    handle = ray_launcher.submit(spec)
    assert handle.wait(timeout_s=120, poll_s=0.2).state is JobState.SUCCEEDED
    assert [line.text for line in handle.logs()] == ["from a file"]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_all_dead(directory, count: int) -> None:
    pids = [int(path.name) for path in directory.iterdir()]
    assert len(pids) == count
    eventually(lambda: not any(alive(pid) for pid in pids), "all are gone", 10, poll_s=0.1)
