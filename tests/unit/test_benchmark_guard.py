"""What the guard of instruction counts compares, and when it says nothing."""

import json

import pytest

from benchmarks.guard import run
from benchmarks.guard.counting import WORKLOADS, Unavailable, digest

COUNTS = dict.fromkeys(WORKLOADS, 1000)


@pytest.fixture
def guard(monkeypatch, tmp_path):
    """The guard with its baselines in a file of the test's; returns the counts that this machine gives."""
    found = dict(COUNTS)
    monkeypatch.setattr(run, "BASELINES", tmp_path / "baselines.json")
    monkeypatch.setattr(run, "kind", lambda: "this kind")
    monkeypatch.setattr(run, "counts", lambda tree: dict(found))
    run.BASELINES.write_text(json.dumps({"driver": digest(), "counts": {"this kind": COUNTS}}))
    return found


def test_two_percent_are_tolerated_and_no_more(guard, capsys):
    assert run.main([]) == 0
    guard["feed"] = 1020
    assert run.main([]) == 0
    guard["feed"] = 1021
    assert run.main([]) == 1
    assert "feed" in next(line for line in capsys.readouterr().out.splitlines() if line.endswith("SLOWER"))
    guard["feed"] = 500
    assert run.main([]) == 0


def test_another_kind_is_compared_with_the_commit_of_the_baselines(guard, monkeypatch, capsys):
    run.BASELINES.write_text(json.dumps({"driver": digest(), "counts": {"another kind": dict.fromkeys(WORKLOADS, 1)}}))
    monkeypatch.setattr(run, "checked_out", lambda path, directory: "0123456789abcdef")
    assert run.main([]) == 0
    assert "commit 012345678, built here" in capsys.readouterr().out


def test_what_cannot_be_counted_fails_nothing(guard, monkeypatch, capsys):
    def unavailable():
        raise Unavailable("there is no valgrind")

    monkeypatch.setattr(run, "kind", unavailable)
    assert run.main([]) == 0
    assert capsys.readouterr().out == "guard: skipped: there is no valgrind\n"


def test_another_driver_needs_new_baselines(guard):
    run.BASELINES.write_text(json.dumps({"driver": "of another day", "counts": {"this kind": COUNTS}}))
    with pytest.raises(SystemExit, match="the driver changed"):
        run.main([])


def test_counts_of_other_kinds_stay_while_the_code_is_the_same(guard):
    run.BASELINES.write_text(json.dumps({"driver": digest(), "counts": {"this kind": COUNTS, "other": COUNTS}}))
    assert run.main(["--record"]) == 0
    assert set(json.loads(run.BASELINES.read_text())["counts"]) == {"this kind", "other"}
    guard["decode"] = 700
    assert run.main(["--record"]) == 0
    assert set(json.loads(run.BASELINES.read_text())["counts"]) == {"this kind"}


def test_committed_baselines_are_of_the_committed_driver():
    kept = json.loads((run.Path(run.__file__).with_name("baselines.json")).read_text())
    assert kept["driver"] == digest()
    assert all(set(counts) == set(WORKLOADS) for counts in kept["counts"].values())
