"""Figures of README and docs come from files of results: tables are made of them, and no ratio is typed by hand beside them."""

import json
import re

import pytest

from benchmarks.harness.figures import figures_by_hand, ratios_by_hand
from benchmarks.harness.ladder import COPIES, note_ladder
from benchmarks.harness.suite import QUICK
from benchmarks.harness.tables import RESULTS, ROOT, pages_of_words, rendered, stale


def test_tables_are_those_of_the_results():
    assert not stale(), "`make bench-docs` makes the tables of these pages anew"


def test_readme_has_the_command_of_each_figure():
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\| `(\w+)` \|$", text, re.M))
    assert named and named == set(re.findall(r"--case ([a-z_]+)", text))


def test_readmes_commands_measure_as_many_rows_as_its_figures_are_of():
    sizes = {"read": "BENCH_ROWS", "ingest": "BENCH_ROWS", "feed": "BENCH_FEED_ROWS", "analyze": "BENCH_TFT_ROWS"}
    lines = re.findall(
        r"^((?:FULLPASS_\w+=\d+ )*)fullpass bench suite (--case .+)$", (ROOT / "README.md").read_text(), re.M
    )
    for case, size in sizes.items():
        (settings,) = [before for before, words in lines if f"--case {case}" in words]
        rows = int({**QUICK, **dict(each.split("=") for each in settings.split())}[f"FULLPASS_{size}"])
        files = RESULTS.rglob(f"{case}.json")
        extras = [entry["extra_info"] for file in files for entry in json.loads(file.read_text())["benchmarks"]]
        assert {extra["records"] for extra in extras if extra.get("headline")} == {rows}, case


@pytest.mark.parametrize("page", [str(path.relative_to(ROOT)) for path in pages_of_words()])
def test_no_figure_is_typed_by_hand(page):
    found = figures_by_hand((ROOT / page).read_text())
    assert not found, "record it with --record, or leave it out (benchmarks/harness/figures.py)"


def test_every_page_is_looked_at():
    found = {str(path.relative_to(ROOT)) for path in pages_of_words()}
    assert {"README.md", "CONTRIBUTING.md", "docs/gpu.md", "docs/reference/commands.md", "docs/migrate/tft.md"} <= found


def test_what_a_hand_typed_ratio_is():
    assert ratios_by_hand("decode is 24.5 (21.4 to 25.8) here\n\nand 3 times as fast, 2.1 × faster") == [
        "1: decode is 24.5 (21.4 to 25.8) here",
        "3: and 3 times as fast, 2.1 × faster",
    ]
    made = "<!-- bench: read -->\n1.9 (1.2 to 2.1)\n<!-- /bench -->\n"
    assert not ratios_by_hand(made + "20 times kill -9, every 2 days")


@pytest.mark.parametrize(
    "typed",
    [
        "decode gives 1,400,000 records/s here",
        "2.4 million rows a second",
        "an epoch of 0.65 s took 1.3 s",
        "0.33 µs a record, 25 ns a string",
        "two workers of one machine: each took 3.03 GiB at most",
        "950,000 segments took 4 GB",
        "at four to five times the processor time",
        "1.8 × what one repeated batch gives",
        "1.45 x pyarrow's",
        "half its speed",
        "four test files took 44 % more processor time",
        "an import three times cheaper",
    ],
)
def test_figures_of_other_kinds_are_found(typed):
    assert figures_by_hand(f"before\n\n{typed}\n") == [f"3: {typed}"]
    assert not figures_by_hand(f"```\n{typed}\n```\n")
    assert figures_by_hand(f"<!-- measured: one run on machine A -->\n{typed}\n<!-- /measured -->\n"), (
        "no mark is a file"
    )


def test_settings_and_limits_are_no_figures():
    texts = "at most 64 MiB; after 60 s without renewal; `--rate 1000 rows/s`; Python 3.10 to 3.13; 95 % intervals; 2 % more; every 10 s"
    assert not figures_by_hand(texts)


def test_a_changed_figure_changes_the_page(tmp_path):
    folder = tmp_path / "machine"
    folder.mkdir()
    path = next(RESULTS.rglob("read.json"))
    content = json.loads(path.read_text())
    page = "before\n<!-- bench: read -->\nold\n<!-- /bench -->\nafter\n"
    (folder / "read.json").write_text(json.dumps(content))
    first = rendered(page, tmp_path)
    content["benchmarks"][0]["extra_info"]["cpu_ratio"]["median"] = 777.0
    (folder / "read.json").write_text(json.dumps(content))
    second = rendered(page, tmp_path)
    assert "777 (" in second and "777 (" not in first and "old" not in first
    assert rendered(second, tmp_path) == second, "making tables twice changes nothing"


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda path: path.stem)
def test_results_say_all_that_a_figure_depends_on(path):
    content = json.loads(path.read_text())
    assert {"cpu", "cores", "kernel", "libraries"} <= content["machine_info"].keys() and content["version"]
    for entry in content["benchmarks"]:
        extra = entry["extra_info"]
        if "ratio" not in extra:
            continue
        assert extra["code"]["commit"] and extra["load"] and extra["date"] and extra["peer"] and extra["what"]
        for key in ("ratio", "cpu_ratio"):
            assert 0 < extra[key]["least"] <= extra[key]["median"] <= extra[key]["greatest"]
        assert len(extra["ratios"]) == len(extra["cpu_ratios"]) == extra["pairs"] >= 5


def test_growth_is_a_table_of_its_own(tmp_path):
    (tmp_path / "machine").mkdir()
    content = json.loads(next(RESULTS.rglob("read.json")).read_text())
    extra = {key: content["benchmarks"][0]["extra_info"][key] for key in ("date", "load", "code")}
    extra |= {
        "unit": "row",
        "sizes": [1, 10],
        "cpu_s": [0.5, 1.4],
        "spread_cpu_s": [[0.4, 0.6], [1.2, 1.5]],
        "rounds": 5,
    }
    entry = {**content["benchmarks"][0], "name": "test_reading_by_rows"}
    entry["extra_info"] = extra | {"fixed_cpu_s": 0.4, "slope_cpu_us": 100000.0}
    (tmp_path / "machine" / "growth.json").write_text(json.dumps({**content, "benchmarks": [entry]}))
    made = rendered("<!-- bench: growth -->\nold\n<!-- /bench -->\n", tmp_path)
    row = "| reading by rows | 1: 500 (400 to 600); 10: 1400 (1200 to 1500) | 400 ms | 100000 µs a row | 5 |"
    assert row in made and "old" not in made


class Noted:
    """What `note_ladder` needs of pytest-benchmark's fixture."""

    name = "test_ladder"

    def __init__(self):
        self.extra_info = {}


def test_ladder_is_a_table_with_a_prediction_that_is_called_one(tmp_path):
    benchmark = Noted()
    # One core does 100 units a second, four do 300 with 10 µs each; of copies four do 400.
    shared = {1: [(100.0, 1e-5)] * 3, 2: [(180.0, 1e-5)] * 3, 4: [(300.0, 1e-5), (290.0, 1e-5), (310.0, 1e-5)]}
    copies = {k: [(100.0 * k, 1e-5)] * 3 for k in (1, 2, 4)}
    note_ladder(benchmark, "reading", "record", {"threads, strong": shared, COPIES: copies})
    ladder = benchmark.extra_info["ladder"]
    assert ladder["efficiency"] == {"threads, strong": [[1, 1, 1], [0.9, 0.9, 0.9], [0.75, 0.725, 0.775]]}
    # Amdahl: 4 / 3 = 1 + 3 × share, so the share is 1 / 9 there; through 2 and 4 it lies close to it, and 8 give less than 8 times.
    assert 400 < ladder["predicted"]["threads, strong"]["amdahl"] < 500
    entry = {"name": "test_ladder", "fullname": "x/test_threads.py::test_ladder", "extra_info": benchmark.extra_info}
    plain = {"name": "test_peak", "fullname": "x/test_threads.py::test_peak", "extra_info": {"peak_mib": 73}}
    entries = [{**each, "stats": {"rounds": 3}} for each in (entry, plain)]
    (tmp_path / "machine").mkdir()
    content = json.loads(next(RESULTS.rglob("read.json")).read_text())
    (tmp_path / "machine" / "threads.json").write_text(json.dumps({**content, "benchmarks": entries}))
    made = rendered("<!-- bench: threads -->\nold\n<!-- /bench -->\n", tmp_path)
    assert (
        "1: 100 (100 to 100); 2: 180 (180 to 180); 4: 300 (290 to 310) | "
        "1.00 (1.00 to 1.00); 0.90 (0.90 to 0.90); 0.75 (0.72 to 0.78) | 10.0, 10.0, 10.0 |" in made
    )
    assert "predicted, Amdahl" in made and "| peak | peak mib 73.0 | 3 |" in made


def test_serving_within_a_latency_and_rows_a_request_are_tables(tmp_path):
    rates = {"rate_within_20_ms": 12000, "connections_within_20_ms": 48, "peer_rate_within_20_ms": 1500}
    rates |= {"peer_connections_within_20_ms": 8, "what": "a request", "peer": "a peer"}
    each = {"one_process": 9000, "two_processes": 15000, "model_alone": 60000}
    each |= {
        "growth": [1.667, 1.5, 1.8],
        "share_of_model": 0.25,
    }  # the second as it was kept before: without its spread
    each |= {"one_cpu_us": 90.0, "server_cpu_us": 100.0, "client_cpu_us": 10.0, "model_cpu_us": 16.0}
    found = [{"rows": 16, **each, "cores_of_one": 0.81, "share_of_ceiling": 0.825}]
    entries = [
        {"name": name, "fullname": f"x/test_serve.py::{name}", "extra_info": extra, "stats": {"rounds": 1}}
        for name, extra in (("test_a", rates), ("test_b", {"rows_a_request": found}))
    ]
    (tmp_path / "machine").mkdir()
    content = json.loads(next(RESULTS.rglob("read.json")).read_text())
    (tmp_path / "machine" / "serve.json").write_text(json.dumps({**content, "benchmarks": entries}))
    made = rendered("<!-- bench: serve -->\nold\n<!-- /bench -->\n", tmp_path)
    assert "| a request | a peer | 12,000 (48) | 1,500 (8) |" in made, "one search each is no ratio"
    assert "| 16 | 9,000 | 15,000 | 60,000 | 1.67 (1.50 to 1.80) | 0.81 | 0.82 | – | 90.0, 100, 10.0, 16.0 |" in made


def test_instructions_a_record_are_those_of_the_guard():
    """docs/performance.md has the guard's counts by what each workload is of."""
    driver = (ROOT / "benchmarks/guard/driver.cc").read_text()
    of = {name: int(re.search(rf"{name} = (\d+)", driver)[1]) for name in ("kRecords", "kRows")}
    tokens = int(re.search(r"guarded_count\(texts\((\d+)", driver)[1])
    units = {
        "decode (": ("decode", of["kRecords"]),
        "a window's": ("feed", of["kRows"]),
        "pack (": ("pack", of["kRows"]),
    }
    units["count tokens"] = ("count", tokens)
    counts = json.loads((ROOT / "benchmarks/guard/baselines.json").read_text())["native"]["counts"].values()
    page = (ROOT / "docs/performance.md").read_text()
    for begin, (workload, size) in units.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {begin}")]
        typed = int(row.split("|")[2].replace(",", ""))
        assert any(typed == pytest.approx(each[workload] / size, rel=0.01) for each in counts), row
