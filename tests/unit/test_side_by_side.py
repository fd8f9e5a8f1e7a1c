"""Test runs beside one another: each file in one, words one after the other, exit codes, an end by signal that leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.clusters.__main__ import groups
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
RUN = """
import json, sys
from pathlib import Path
from tests.support.side_by_side import Group, run
groups = [
    Group(name=name, commands=tuple(map(tuple, commands)), none_is_fine=name.startswith("chosen"))
    for name, commands in json.loads(sys.argv[1]).items()
]
sys.exit(run(groups, beside=int(sys.argv[2]), directory=Path(sys.argv[3]), grace_s=float(sys.argv[4])))
"""
# A pytest whose fixture starts a server and ends it; the test waits for as long as you like.
SERVED = """
import subprocess, sys, time, pathlib, pytest

@pytest.fixture(scope="session")
def server():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    pathlib.Path("{name}.pid").write_text(str(process.pid))
    yield process
    process.kill()
    process.wait()
    pathlib.Path("{name}.ended").touch()

def test_waits(server):
    time.sleep(600)
"""


def start(
    directory: Path, commands: dict[str, list[list[str]]], beside: int = 2, grace_s: float = 60
) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", RUN, json.dumps(commands), str(beside), str(directory), str(grace_s)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def python(text: str) -> list[str]:
    return [sys.executable, "-u", "-c", text]


def test_each_cluster_test_file_is_in_one_group_and_rays_share_a_process_with_tuning_alone():
    named = {
        group.name: [Path(word).name for word in group.commands[-1] if word.endswith(".py")] for group in groups(["-x"])
    }
    assert sorted(name for names in named.values() for name in names) == sorted(
        path.name for path in (ROOT / "tests" / "clusters").glob("test_*.py")
    )
    assert sorted(named["ray"]) == [
        "test_ray_launcher.py",
        "test_ray_ports.py",
        "test_ray_training.py",
        "test_tuning.py",
    ]
    nodes = {name for group in ("kubernetes", "kubernetes-2") for name in named[group]}
    assert nodes == {name for names in named.values() for name in names if name.startswith("test_kubernetes_")}
    assert all(names for names in named.values()) and all(group.commands[-1][-1] == "-x" for group in groups(["-x"]))


def test_words_come_one_after_the_other_and_one_failure_fails_all(tmp_path):
    # The first group ends when the second has spoken: they run at once, and the words of the second wait. The third finds no room before.
    first = "import time, pathlib\nprint('one', flush=True)\nwhile not pathlib.Path('second').exists(): time.sleep(0.02)\nprint('uno')"
    second = "import pathlib, sys\nprint('two', flush=True)\npathlib.Path('second').touch()\nsys.exit(5)"
    commands = {
        "a": [python("raise SystemExit(3)"), python(first)],
        "b": [python(second)],
        "c": [python("print('three')")],
    }
    process = start(tmp_path, commands)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    lines = said.splitlines()
    assert lines[:7] == ["==== a ====", "one", "uno", "==== b ====", "two", "==== c ====", "three"]
    assert [line.split(" after")[0] for line in lines[7:]] == ["a: passed", "b: FAILED with exit code 5", "c: passed"]


@pytest.mark.parametrize(("codes", "code"), [((0, 5), 0), ((1, 5), 1), ((5, 5), 1)])
def test_a_group_of_which_the_options_choose_no_test_does_not_fail_the_others(tmp_path, codes, code):
    commands = {f"chosen-{i}": [python(f"raise SystemExit({each})")] for i, each in enumerate(codes)}
    process = start(tmp_path, commands)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code and "chosen-1: no tests after" in said
    assert all(each.none_is_fine for each in groups(["-k", "one"])) and not any(each.none_is_fine for each in groups())


def test_no_more_run_at_once_than_allowed(tmp_path):
    # Each fails where it finds another one at work.
    alone = "import os, time\nos.mkdir('busy')\ntime.sleep(0.3)\nos.rmdir('busy')"
    process = start(tmp_path, {name: [python(alone)] for name in "abc"}, beside=1)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_every_test_run_through_its_fixtures(tmp_path, number):
    commands = {}
    for name in ("a", "b"):
        (tmp_path / f"test_{name}.py").write_text(SERVED.format(name=name))
        commands[name] = [[sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test_{name}.py"]]
    process = start(tmp_path, {**commands, "later": [python("open('later', 'w')")]})
    eventually(lambda: len(list(tmp_path.glob("*.pid"))) == 2, "both servers run", timeout_s=120)
    servers = [int(path.read_text() or 0) for path in tmp_path.glob("*.pid")]
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + number, said
    assert {path.name for path in tmp_path.glob("*.ended")} == {"a.ended", "b.ended"}, said
    assert not any(map(psutil.pid_exists, servers)) and not (tmp_path / "later").exists()
    assert said.count("KeyboardInterrupt") >= 2 and "later: not started" in said


def test_what_does_not_end_is_killed_with_its_children(tmp_path):
    deaf = (
        "import signal, subprocess, sys, time, pathlib\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "pathlib.Path('pid').write_text(str(child.pid))\ntime.sleep(600)"
    )
    process = start(tmp_path, {"deaf": [python(deaf)]}, grace_s=0.2)
    pid = int(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the child runs"))
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    eventually(lambda: not psutil.pid_exists(pid), "the child is gone")
