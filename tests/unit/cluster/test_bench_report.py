"""The page of benchmarks, from files that pytest-benchmark writes."""

import json
import os
import subprocess
import sys

import pytest

from cluster.benchmarking.result_files import keep
from cluster.cli.main import main
from cluster.report.bench import bench_page
from cluster.report.bench_results import read_results
from engine.core.errors import ConfigError, DataError
from tests.support.bench_results import HOSTILE, LADDER, write_results


def tables(page, name):
    (section,) = [s for s in page.sections if s.name == name]
    return [[[cell.text for cell in row] for row in b.rows] for b in section.blocks if b.kind == "table"]


def charts(page, name):
    return [b for s in page.sections if s.name == name for b in s.blocks if b.kind == "chart"]


def test_ratios_with_their_spread_and_what_is_lost(tmp_path):
    page = bench_page([write_results(tmp_path / "read.json")])
    ((first, second),) = tables(page, "case-0")
    assert first[:6] == [HOSTILE, "a peer", "1.2", "8.00 (4.00 to 9.50)", "10.0 (6.00 to 12.0)", "5"]
    assert second[3] == "0.50 (0.40 to 0.60)"
    assert page.tiles[1][:2] == ("faster than the peer", "1 of 2")
    (chart,) = charts(page, "case-0")
    assert [(v["x"], v["low"], v["high"]) for v in chart.values if v["s"] == "processor time"] == [
        (8, 4, 9.5),
        (0.5, 0.4, 0.6),
    ]


def test_growth_history_and_stages_are_drawn(tmp_path):
    paths = [
        write_results(tmp_path / "a" / "read.json", "2026-11-01", "aaaaaaaaaa", ratio=8.0),
        write_results(tmp_path / "b" / "read.json", "2026-11-20", "bbbbbbbbbb", ratio=6.0),
    ]
    page = bench_page([tmp_path])
    (growth,) = [c for c in charts(page, "growth") if c.title == "test_rows: seconds by rows"]
    assert [(v["x"], v["y"]) for v in growth.values] == [(1000, 0.001), (10000, 0.01)]
    (rates,) = [c for c in charts(page, "growth") if c.title.endswith("examples_per_s")]
    assert [(v["x"], v["y"]) for v in rates.values] == [(1, 100), (64, 900)]
    ((*_, last),) = [[row for row in rows if row[0].startswith(HOSTILE)] for rows in tables(page, "history")]
    assert last[2:] == ["2026-11-20T00:00", "bbbbbbb", "6", "0.7500"]
    (stages,) = charts(page, "stages")
    assert [(v["s"], v["depth"], v["x"], v["x2"]) for v in stages.values] == [
        ("read", 1, 0, pytest.approx(0.8)),
        ("read > decode", 2, 0, 0.6),
        ("read > copy", 2, 0.6, pytest.approx(0.8)),
        ("pack", 1, pytest.approx(0.8), pytest.approx(1.2)),
    ]
    assert len(read_results(paths)) == len(read_results([tmp_path]))


def test_sizes_and_ladders_of_the_suite_are_drawn(tmp_path):
    page = bench_page([write_results(tmp_path / "read.json")])
    (sizes,) = [c for c in charts(page, "growth") if c.title == "reading: seconds of processor time by row"]
    assert [(v["x"], v["y"]) for v in sizes.values if v["s"] == "measured"] == [(1, 0.5), (10, 1.4)]
    assert [v["y"] for v in sizes.values if v["s"] == "fixed cost and slope"] == pytest.approx([0.5, 1.4])
    (ladder,) = [c for c in charts(page, "growth") if c.title == "reading: records a second by cores"]
    points = [(v["s"], v["x"], v["y"]) for v in ladder.values]
    predicted = "threads, strong, predicted (Amdahl)"
    assert len(points) == 4 * len(LADDER["rates"])
    assert points[:4] == [
        ("threads, strong", 1, 100),
        ("threads, strong", 2, 180),
        (predicted, 2, 180),
        (predicted, 4, 300),
    ]


def test_results_that_the_suite_keeps_hold_their_own_history(tmp_path):
    for when, ratio in (("2026-11-01", 8.0), ("2026-11-10", 6.0), ("2026-11-20", 9.0)):
        keep(write_results(tmp_path / "run.json", when, ratio=ratio), tmp_path / "kept")
    page = bench_page([tmp_path / "kept"])
    (rows,) = tables(page, "history")
    assert [row[2:6:2] for row in rows if row[0].startswith(HOSTILE)] == [
        ["2026-11-01T00:00", "8"],
        ["2026-11-10T00:00", "6"],
        ["2026-11-20T00:00", "9"],
    ]
    assert page.tiles[0][:2] == ("benchmarks", "7"), "earlier results are no benchmarks of their own"


def test_file_that_pytest_benchmark_wrote_is_read(tmp_path):
    code = "import pytest\n@pytest.mark.parametrize('n', [10, 1000])\ndef test_sum(benchmark, n): benchmark(sum, range(n))\n"
    (tmp_path / "test_it.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-json=r.json"]
    # pytest-benchmark measures nothing in a process that it takes for one of xdist's.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    subprocess.run([*command, "--benchmark-max-time=0.01", "test_it.py"], cwd=tmp_path, check=True, env=env)
    page = bench_page([tmp_path / "r.json"])
    assert [row[0] for row in tables(page, "seconds")[0]] == ["sum[10]", "sum[1000]"]
    assert [v["x"] for v in charts(page, "growth")[0].values] == [10, 1000]


def test_command_writes_the_page(tmp_path, capsys):
    results = write_results(tmp_path / "read.json")
    assert main(["bench", "report", str(results), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"report     {(tmp_path / 'page.html').as_uri()}\n"
    text = (tmp_path / "page.html").read_text()
    assert HOSTILE not in text and "&lt;script&gt;window.hit=1&lt;/script&gt;" in text


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        ("", {"params": "x"}),
        ("", {"extra_info": "none"}),
        ("extra_info", {"code": "x"}),
        ("", {"stats": {"median": "slow", "min": None, "max": float("inf"), "rounds": "many"}}),
        ("extra_info", {"load": "x", "pairs": "five", "records_per_s": "many", "bytes_per_s": "z"}),
        ("extra_info", {"load": ["x"], "peer": ["l"], "peer_version": {"a": 1}, "what": {"b": 2}}),
        ("extra_info", {"rate_at_0": 1.0, "rate_at_5": 2.0, "stages": {"a": float("nan"), "b": "long"}}),
        ("extra_info", {"ratio": "x", "cpu_ratio": {"median": 2}}),
    ],
)
def test_figures_that_are_none_leave_the_page_whole(tmp_path, capsys, where, changes):
    stored = json.loads(write_results(tmp_path / "read.json").read_text())
    for entry in stored["benchmarks"]:
        (entry[where] if where else entry).update(changes)
    (tmp_path / "read.json").write_text(json.dumps(stored))
    assert main(["bench", "report", str(tmp_path / "read.json"), "--out", str(tmp_path / "page.html")]) == 0, (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"benchmarks": [{}], "machine_info": {}}', json.dumps({"datetime": 1})]
)
def test_file_of_another_format_is_named(tmp_path, content):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(
        DataError, match=r"not in pytest-benchmark's format.*other\.json|other\.json.*not in pytest-benchmark's format"
    ):
        bench_page([tmp_path / "other.json"])


def test_options_of_other_uses_are_refused(tmp_path, capsys):
    results = str(write_results(tmp_path / "read.json"))
    for flags, name in (
        (["--json"], "--json"),
        (["--rounds", "3"], "--rounds"),
        (["--against", "last"], "--against"),
        (["--quick"], "--quick"),
    ):
        assert main(["bench", "report", results, *flags]) == 2
        assert f"{name}: of `fullpass bench" in capsys.readouterr().err
    assert main(["bench", "report"]) == 2
    assert "of which results?" in capsys.readouterr().err


def test_no_results_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        bench_page([tmp_path / "none.json"])
    with pytest.raises(ConfigError, match="no results"):
        bench_page([tmp_path])
