"""Pairs, results and comparisons of benchmarks."""

import copy
import json

import pytest

from cluster.benchmarking.compare import compare, lines_of
from cluster.benchmarking.machine import data_digest
from cluster.benchmarking.pairs import Timing, paired
from cluster.benchmarking.results import keep, results_of
from engine import ConfigError

MACHINE = {"cpu": "x", "cpu_family_model_stepping": "1 2 3", "cores": 2}


def entry(name, ratio, **extra):
    spread = dict(zip(("median", "least", "greatest"), ratio))
    info = {"peer": "p", "peer_version": "1", "data_digest": "d", "cpu_ratio": spread, "ratio": spread, **extra}
    stats = {"mean": 1.0, "rounds": 1, "data": [1.0]}
    return {"name": name, "fullname": f"benchmarks/cases/data/test_read.py::{name}", "extra_info": info, "stats": stats}


def test_ratios_are_of_a_unit_of_work():
    ours, peer = iter([1.0, 2.0, 4.0]), iter([3.0, 3.0, 2.0])
    result = paired(
        lambda: Timing(wall_s=next(ours), cpu_s=0.5),
        lambda: Timing(wall_s=next(peer), cpu_s=1.0),
        3,
        ours_size=100,
        peer_size=10,
        warm_up=False,
    )
    assert result.wall_ratios == (30.0, 15.0, 5.0)
    assert (result.wall.median, result.wall.least, result.wall.greatest) == (15.0, 5.0, 30.0)
    assert result.cpu.median == 20.0 and (result.ours_s, result.peer_s) == (2.0, 3.0)


def test_slower_is_beyond_the_spread():
    before = [
        (MACHINE, entry("a", (10, 9, 11))),
        (MACHINE, entry("b", (10, 9, 11))),
        (MACHINE, entry("c", (10, 9, 11))),
    ]
    after = [
        (MACHINE, entry("a", (8, 7, 8.9))),
        (MACHINE, entry("b", (8, 7, 9.5))),
        (MACHINE, entry("c", (13, 12, 14))),
    ]
    changes = {change.name: change for change in compare(before, after)}
    assert [changes[name].slower for name in "abc"] == [True, False, False]
    assert [changes[name].faster for name in "abc"] == [False, False, True]
    assert [line.split()[0] for line in lines_of(list(changes.values()))] == ["SLOWER", "faster", "as"]


@pytest.mark.parametrize("what", ["cores", "peer_version", "data_digest"])
def test_like_is_compared_with_like_alone(what):
    old = (dict(MACHINE), entry("a", (10, 9, 11)))
    new = copy.deepcopy(old)
    (new[0] if what == "cores" else new[1]["extra_info"])[what] = "other"
    (change,) = compare([old], [new])
    assert what in change.reason and not change.slower and not change.faster


def test_a_run_keeps_what_it_did_not_measure(tmp_path):
    def measured(*entries):
        (tmp_path / "run.json").write_text(json.dumps({"benchmarks": list(entries), "version": "5"}))
        return keep(tmp_path / "run.json", tmp_path / "kept")

    measured(entry("a", (1, 1, 1)), entry("b", (2, 2, 2)))
    (path,) = measured(entry("b", (3, 3, 3)))
    assert path.name == "read.json"
    found = {each["name"]: each["extra_info"]["ratio"]["median"] for _, each in results_of(tmp_path / "kept")}
    assert found == {"a": 1, "b": 3}
    assert all("data" not in each["stats"] for _, each in results_of(path))
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"run\.json: not JSON of pytest-benchmark"):
        keep(tmp_path / "run.json", tmp_path / "kept")


def test_digest_is_of_contents(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"rows")
    assert data_digest(tmp_path / "a") == data_digest([tmp_path / "b"])
    (tmp_path / "b").write_bytes(b"rowS")
    assert data_digest(tmp_path / "a") != data_digest(tmp_path / "b")
