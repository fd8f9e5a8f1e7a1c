"""The directory of a Ray actor goes with it: when it leaves, and when the next one of its name comes after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from cluster import JobSpec
from cluster.launchers.ray.actor import Member


def test_directories_of_killed_actors_are_removed_and_those_of_living_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    text = JobSpec(name="clicks", command=("true",)).to_json()
    program = (
        "import os, signal, sys, tempfile\n"
        "from cluster.launchers.ray.actor import Member\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "member = Member(sys.argv[2], 'worker', 0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path), text])
    (left,) = os.listdir(tmp_path)
    other = Member(text, "worker", 1)
    first = Member(text, "worker", 0)
    assert left not in os.listdir(tmp_path)
    second = Member(text, "worker", 0)
    assert len(os.listdir(tmp_path)) == 3, "nobody takes a living actor's directory away"
    for member in (other, first, second):
        member.leave(grace_s=0)
    assert os.listdir(tmp_path) == []
