"""A long TMPDIR does not end a supervisor: the names of sockets have 108 bytes."""

from __future__ import annotations

import os
import queue
import tempfile

from trainers.supervision.training_process import Child


def test_supervisor_finds_room_for_its_socket_where_tmpdir_is_long(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    child = Child(["x.py"], None, queue.Queue(), [])
    folder = os.path.dirname(child._address)
    assert os.stat(folder).st_mode & 0o777 == 0o700, "nobody else connects"
    child.close()
    assert not os.path.exists(folder) and os.listdir(long) == []
