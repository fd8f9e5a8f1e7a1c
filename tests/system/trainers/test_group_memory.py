"""What the kernel tells of a control group's memory, in both versions of its files."""

from __future__ import annotations

import pytest

from engine.machine.cgroup import read_group_memory

SECOND = {"memory.max": "{limit}", "memory.peak": "1048576", "memory.events": "low 0\noom 4\noom_kill 3"}
FIRST = {
    "memory/memory.limit_in_bytes": "{limit}",
    "memory/memory.max_usage_in_bytes": "1048576",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3",
}


def written(folder, files, limit):
    (folder / "memory").mkdir()
    for name, text in files.items():
        (folder / name).write_text(text.format(limit=limit) + "\n")
    return folder


@pytest.mark.parametrize("files", [FIRST, SECOND], ids=["version 1", "version 2"])
def test_peak_limit_and_kills_are_read(tmp_path, files):
    memory = read_group_memory(written(tmp_path, files, 2 << 20))
    assert (memory.peak_bytes, memory.limit_bytes, memory.kills) == (1 << 20, 2 << 20, 3)
    assert str(memory) == "memory peaked at 1 MiB, the limit is 2 MiB"


@pytest.mark.parametrize(("files", "unlimited"), [(FIRST, "9223372036854771712"), (SECOND, "max")])
def test_a_group_without_a_limit_tells_nothing(tmp_path, files, unlimited):
    assert read_group_memory(written(tmp_path, files, unlimited)) is None


@pytest.mark.parametrize("missing", ["memory.peak", "memory.events"])
def test_an_older_kernel_tells_nothing(tmp_path, missing):
    written(tmp_path, SECOND, 1 << 20)
    (tmp_path / missing).unlink()
    assert read_group_memory(tmp_path) is None
    assert read_group_memory(tmp_path / "nowhere") is None
