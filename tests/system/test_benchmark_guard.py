"""The guard of instruction counts finds work planted into copies of the decoder, the feed, the token counter and an accumulator."""

import shutil
from pathlib import Path

import pytest

from benchmarks.guard import run
from benchmarks.guard.counting import ROOT, Unavailable, kind

# About a fifth more work each: every fifth record is decoded twice, every fifth row copied twice, every fifth token counted twice, a
# fifth of the values summed twice.
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
    "transforms/accumulators/numeric/moments.py": (
        "        return [_add(found, columns[:, index]) for index, found in enumerate(state)]",
        "        [_add(found, columns[: len(columns) // 5, index]) for index, found in enumerate(state)]\n"
        "        return [_add(found, columns[:, index]) for index, found in enumerate(state)]",
    ),
}


@pytest.fixture(scope="module")
def usable():
    try:
        return kind()
    except Unavailable as reason:
        pytest.skip(str(reason))


def planted(to: Path) -> Path:
    for folder in ("engine", "transforms", "benchmarks/guard"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name, (old, new) in PLANTED.items():
        source = (to / name).read_text()
        assert source.count(old) == 1, f"{name} has changed: plant the work elsewhere"
        (to / name).write_text(source.replace(old, new))
    return to


def found_in(tmp_path, capsys, monkeypatch, part):
    """What the guard says of the planted work, against counts of the same code without it.

    The committed counts may be of slower code, which hides it: exact sums became native after theirs were kept.
    """
    monkeypatch.setattr(run, "BASELINES", tmp_path / "baselines.json")
    assert run.main(["--part", part, "--record"]) == 0
    assert run.main(["--part", part, "--tree", str(planted(tmp_path / "planted"))]) == 1
    told = capsys.readouterr().out
    return {line.split()[0] for line in told.splitlines() if line.endswith("SLOWER")}, told


@pytest.mark.slow
def test_planted_work_is_found_in_native_code(usable, tmp_path, capsys, monkeypatch):
    slow, told = found_in(tmp_path, capsys, monkeypatch, "native")
    assert slow >= {"decode", "feed", "count"} and "pack" not in slow, told


def test_planted_work_is_found_in_an_accumulator(usable, tmp_path, capsys, monkeypatch):
    slow, told = found_in(tmp_path, capsys, monkeypatch, "accumulators")
    assert slow == {"moments"}, told
