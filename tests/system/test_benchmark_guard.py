"""The guard of instruction counts finds work that was planted into copies of the decoder, the feed and the token counter."""

import shutil
from pathlib import Path

import pytest

from benchmarks.guard.counting import ROOT, Unavailable, kind
from benchmarks.guard.run import main

# About a fifth more work each: every fifth record is decoded twice, every fifth row copied twice, every fifth token counted twice.
PLANTED = {
    "engine/native/decoder/decoder.cc": (
        "if (!plan_.add(payload, record.size, rows, readable_)) break;",
        "if (!plan_.add(payload, record.size, rows, readable_)) break;\n"
        "    if (rows % 5 == 0 && !plan_.add(payload, record.size, rows, readable_)) break;",
    ),
    "engine/native/rows/gather.cc": (
        "    std::memcpy(to, job.from + row * size, size);",
        "    for (size_t times = i % 5 ? 1 : 2; times; --times) std::memcpy(to, job.from + row * size, size);",
    ),
    "transforms/native/token_counter.cc": (
        "      if (length == 8)\n        eight_.add(keys[at], hashes[at], count);",
        "      for (int times = at % 5 ? 1 : 2; times; --times) if (length == 8)\n        eight_.add(keys[at], hashes[at], count);",
    ),
}


@pytest.fixture(scope="module")
def usable():
    try:
        return kind()
    except Unavailable as reason:
        pytest.skip(str(reason))


def planted(to: Path) -> Path:
    for folder in ("engine/native", "transforms/native", "benchmarks/guard"):
        shutil.copytree(ROOT / folder, to / folder)
    for name, (old, new) in PLANTED.items():
        source = (to / name).read_text()
        assert source.count(old) == 1, f"{name} has changed: plant the work elsewhere"
        (to / name).write_text(source.replace(old, new))
    return to


@pytest.mark.slow
def test_planted_work_is_found(usable, tmp_path, capsys):
    assert main(["--tree", str(planted(tmp_path / "planted"))]) == 1
    told = capsys.readouterr().out
    slow = {line.split()[0] for line in told.splitlines() if line.endswith("SLOWER")}
    assert slow >= {"decode", "feed", "count"} and "pack" not in slow, told
