"""Figures of README and docs come from files of results: tables are made of them, and no ratio is typed by hand beside them."""

import json

import pytest

from benchmarks.harness.tables import RESULTS, ROOT, ratios_by_hand, rendered, stale


def test_tables_are_those_of_the_results():
    assert not stale(), "`make bench-docs` makes the tables of these pages anew"


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
)
def test_no_ratio_is_typed_by_hand(page):
    assert not ratios_by_hand((ROOT / page).read_text()), (
        "record it with --record, or mark it with its date and machine"
    )


def test_what_a_hand_typed_ratio_is():
    assert ratios_by_hand("decode is 24.5 (21.4 to 25.8) here\n\nand 3 times as fast, 2.1 × faster") == [
        "1: decode is 24.5 (21.4 to 25.8) here",
        "3: and 3 times as fast, 2.1 × faster",
    ]
    earlier = "<!-- earlier: 2026, machine A -->\n4.5 (4.2 to 5.2)\n<!-- /earlier -->\n"
    made = "<!-- bench: read -->\n1.9 (1.2 to 2.1)\n<!-- /bench -->\n"
    assert not ratios_by_hand(earlier + made + "20 times kill -9, every 2 days")


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
        assert len(extra["ratios"]) == extra["pairs"] >= (1 if "larger" in entry["name"] else 5)


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
