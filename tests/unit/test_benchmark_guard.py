"""What the guard of instruction counts compares, and when it says nothing."""

import dataclasses
import json

import pytest

from benchmarks.guard import run
from benchmarks.guard.accumulators import PYTHON_WORKLOADS
from benchmarks.guard.counting import WORKLOADS, Unavailable

OF = {"native": WORKLOADS, "accumulators": PYTHON_WORKLOADS}
DRIVER = "of this day"


def baselines(counts, driver=DRIVER):
    return {name: {"driver": driver, "counts": counts(dict.fromkeys(OF[name], 1000))} for name in OF}


@pytest.fixture
def guard(monkeypatch, tmp_path):
    """The guard with its baselines in a file of the test's; returns the counts that this machine gives."""
    found = {name: dict.fromkeys(OF[name], 1000) for name in OF}
    parts = {
        name: run.Part(
            digest=lambda: DRIVER, kind=lambda: "this kind", counts=lambda tree, name=name: dict(found[name])
        )
        for name in OF
    }
    monkeypatch.setattr(run, "BASELINES", tmp_path / "baselines.json")
    monkeypatch.setattr(run, "PARTS", parts)
    run.BASELINES.write_text(json.dumps(baselines(lambda counts: {"this kind": counts})))
    return found


@pytest.mark.parametrize(("part", "workload"), [("native", "feed"), ("accumulators", "moments")])
def test_two_percent_are_tolerated_and_no_more(guard, capsys, part, workload):
    assert run.main([]) == 0
    guard[part][workload] = 1020
    assert run.main([]) == 0
    guard[part][workload] = 1021
    assert run.main([]) == 1
    assert workload in next(line for line in capsys.readouterr().out.splitlines() if line.endswith("SLOWER"))
    guard[part][workload] = 500
    assert run.main([]) == 0


def test_each_of_several_runs_is_compared(guard, monkeypatch, capsys):
    counted = iter([1000, 1015, 990, 1000, 1021, 990])
    part = dataclasses.replace(run.PARTS["native"], counts=lambda tree: guard["native"] | {"feed": next(counted)})
    monkeypatch.setitem(run.PARTS, "native", part)
    assert run.main(["--part", "native", "--times", "3"]) == 0
    said = capsys.readouterr().out
    assert "guard: native: slower in 0 of 3 runs" in said and "+1.50% at most, -1.00% at least" in said
    assert run.main(["--part", "native", "--times", "3"]) == 1
    assert "guard: native: slower in 1 of 3 runs" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run.main(["--times", "0"])


def test_another_kind_is_compared_with_the_commit_of_the_baselines(guard, monkeypatch, capsys):
    run.BASELINES.write_text(json.dumps(baselines(lambda counts: {"another kind": dict.fromkeys(counts, 1)})))
    monkeypatch.setattr(run, "checked_out", lambda path, directory: "0123456789abcdef")
    assert run.main([]) == 0
    assert capsys.readouterr().out.count("commit 012345678, built here") == 2


def test_what_cannot_be_counted_fails_nothing(guard, monkeypatch, capsys):
    def unavailable():
        raise Unavailable("there is no valgrind")

    monkeypatch.setitem(run.PARTS, "native", dataclasses.replace(run.PARTS["native"], kind=unavailable))
    guard["accumulators"]["sums"] = 2000
    assert run.main([]) == 1, "the other part is counted all the same"
    assert "guard: native: skipped: there is no valgrind\n" in capsys.readouterr().out
    assert run.main(["--part", "native"]) == 0


def test_another_driver_needs_new_baselines(guard):
    run.BASELINES.write_text(json.dumps(baselines(lambda counts: {"this kind": counts}, "of another day")))
    with pytest.raises(SystemExit, match="the driver of native changed"):
        run.main([])


def test_counts_of_other_kinds_stay_while_the_code_is_the_same(guard):
    run.BASELINES.write_text(json.dumps(baselines(lambda counts: {"this kind": counts, "other": counts})))
    assert run.main(["--record"]) == 0
    assert set(json.loads(run.BASELINES.read_text())["native"]["counts"]) == {"this kind", "other"}
    guard["native"]["decode"] = 700
    assert run.main(["--record"]) == 0
    kept = json.loads(run.BASELINES.read_text())
    assert set(kept["native"]["counts"]) == {"this kind"}
    assert set(kept["accumulators"]["counts"]) == {"this kind", "other"}, "whose code did not change"


@pytest.mark.parametrize("name", OF)
def test_committed_baselines_are_of_the_committed_driver(name):
    kept = json.loads((run.Path(run.__file__).with_name("baselines.json")).read_text())[name]
    assert kept["driver"] == run.PARTS[name].digest()
    assert all(set(counts) == set(OF[name]) for counts in kept["counts"].values())
