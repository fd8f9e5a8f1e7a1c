"""Pages about runs: what they say, that nothing of a run is run, and what is said where something is missing."""

import html.parser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.cli.comparison_text import as_markdown, as_text
from cluster.cli.main import main
from cluster.report import write_report, write_run_report
from cluster.report.model import Block, Cell, Column, Page, Section, Table, Verdict, number, shown
from cluster.report.page import page_of, verdict_of
from cluster.report.runs import open_run, open_runs
from cluster.report.sections.training import curves
from cluster.report.write import render, write_page
from engine.core.errors import ConfigError, DataError
from engine.core.exit_codes import NOT_MET
from engine.core.text_encoding import one_line
from tests.support.report_run import HOSTILE, HOSTILE_VALUES, evaluation, finish_step, write_run
from trainers.evaluation.comparison import Change, Comparison

ROOT = Path(__file__).parents[3]


class Parsed(html.parser.HTMLParser):
    """Tags with their attributes, and the text of scripts and of the rest, as a parser of HTML sees them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.scripts, self._in_script = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text.append(data)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("report") / "hostile")


@pytest.fixture(scope="module")
def page(run_dir):
    return page_of([open_run(run_dir)])


@pytest.fixture(scope="module")
def parsed(run_dir, tmp_path_factory):
    path = write_report([run_dir], tmp_path_factory.mktemp("page") / "page.html")
    assert path.stat().st_size < 3_000_000
    return Parsed(path.read_text())


def section(page, name):
    (found,) = [s for s in page.sections if s.name == name]
    return found


def table(page, name, caption):
    (found,) = [b for b in section(page, name).blocks if b.kind == "table" and b.caption.startswith(caption)]
    return [[cell.text for cell in row] for row in found.rows]


def test_names_and_values_of_a_run_stay_text(parsed):
    assert len(parsed.scripts) == 3  # the data, the chart library, the page's own
    allowed = {"script", "style", "svg", "rect"}
    assert {
        tag for tag, _ in parsed.tags if tag in {"img", "iframe", "object", "link", "base", "form", *allowed}
    } <= allowed
    assert not [(tag, a) for tag, attributes in parsed.tags for a in attributes if a.startswith("on")]
    assert {a["href"][0] for _, a in parsed.tags if "href" in a} == {"#"} and not [
        a for _, a in parsed.tags if "src" in a
    ]
    text = "".join(parsed.text)
    for value in HOSTILE_VALUES:
        assert one_line(value) in text
    assert "\u202e" not in text  # would turn around what stands beside it


def test_names_of_a_run_are_data_of_charts_and_never_part_of_an_expression(parsed):
    specs = json.loads(parsed.scripts[0])
    names = {v.get("name") for spec in specs for v in spec["data"]["values"]}
    drawn = [v for v in HOSTILE_VALUES if v != HOSTILE_VALUES[3]]  # the one whose AUC has no meaning is no point
    # In quotes where `one_line` alters it, so that no two segments have one name.
    assert {one_line(v) if one_line(v) == v else f'"{one_line(v)}"' for v in drawn} <= names
    for spec in specs:
        spec.pop("data")
    assert "window.hit" not in json.dumps(without(specs, "domain"))


def without(spec, key):
    """A specification without what is below a key."""
    if isinstance(spec, list):
        return [without(each, key) for each in spec]
    return {k: without(v, key) for k, v in spec.items() if k != key} if isinstance(spec, dict) else spec


def test_policy_of_the_page_lets_nothing_be_fetched(parsed):
    (policy,) = [a["content"] for t, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1] and policy.count("'sha256-") == 2


def test_segments_counts_and_curves_are_those_of_the_files(page):
    rows = table(page, "metrics", "Metrics by")
    assert len(rows) == len(HOSTILE_VALUES)
    assert rows[0] == [f"{HOSTILE}={HOSTILE}", "500", "0.9000 ±0.0100", "0.5000 ±0.0200"]
    assert rows[3][2] == "–"  # not a number
    assert table(page, "data", "Rows of each step")[0][1:4] == ["1,200", "1,000", "200"]
    assert table(page, "curves", "Confusion at")[1] == ["0.5000", "60", "20", "40", "80", "0.7500", "0.6000", "0.2000"]
    gap = table(page, "fairness", "Gaps")[0]
    assert gap[1] == "auc" and gap[4] == "0.1000" and gap[5] == "yes"


def test_statistics_anomalies_and_drift_are_those_of_the_messages(page):
    rows = table(page, "data", "Features")
    assert [row[:5] for row in rows[:2]] == [["delay", split, "float", "", "900"] for split in ("train", "eval")]
    assert rows[0][5:7] == ["10.00", "12.2500"] and rows[0][11] == "10.00"
    assert rows[2][12] == "2" and f"{HOSTILE} (500)" in rows[2][13]
    (features,) = [b for b in section(page, "data").blocks if b.kind == "table" and b.caption == "Features"]
    heights = features.rows[0][3].bars[0]
    assert len(heights) == 20 and heights == tuple(i // 2 / 2 for i in range(20))  # ten buckets over twenty bars
    assert table(page, "data", "Anomalies")[0][:4] == [HOSTILE, "train", "New column", "ERROR"]
    assert table(page, "data", "Drift")[0][3:] == ["0.3000", "0.1000", "no"]


def test_vocabularies_and_what_analyzers_found_are_those_of_the_graph(page):
    assert table(page, "transform", "Vocabularies") == [["words", "12", "53", f"{HOSTILE}, a, b, c, d, e, f, g, …"]]
    assert table(page, "transform", "What the analyzers") == [
        ["bucketize/quantiles", HOSTILE, "3", "1, 2.5000, 4", "clicks.py:7"],
        ["scale/mean_and_var", "z", "2", "mean 0.5000, variance 2", ""],
    ]


def test_graph_without_results_of_analyzers_is_said_and_one_of_vocabularies_alone_is_not(tmp_path):
    run = write_run(tmp_path / "run", statistics=False)
    results = run / "analyze/latest/graph/transform_fn/assets.extra/analyzer_results.json"
    results.write_text('{"version": 1, "results": []}')
    found = section(page_of([open_run(run)]), "transform")
    assert not found.missing and [block.caption for block in found.blocks] == ["Vocabularies"]
    results.unlink()
    (line,) = section(page_of([open_run(run)]), "transform").missing
    assert line.startswith("run: no boundaries and moments") and line.endswith("analyze again.")


def test_long_words_and_a_last_one_without_an_end_are_one_word_each(tmp_path):
    run = write_run(tmp_path / "run", statistics=False)
    (words,) = (run / "analyze/latest/graph/transform_fn/assets").iterdir()
    words.write_bytes(b"l" * 700 + b"\r\nshort\nlast")
    found = table(page_of([open_run(run)]), "transform", "Vocabularies")
    assert found == [["words", "3", "712", f"{'l' * 200}, short, last"]]


def test_training_curves_join_event_files_and_history(run_dir):
    found = curves(open_run(run_dir))
    assert found["loss"]["train"][:2] == [(0.0, 1.0), (10.0, pytest.approx(1 / 11))]
    assert found["loss"]["eval"] == [(50, 0.45), (100, 0.4)]
    assert found["loss"]["train"][-1] == (100, 9.0)  # a step of the history that no event file has
    assert len(found[HOSTILE]["train"]) == 10


def test_event_file_cut_in_a_record_gives_what_is_before(tmp_path):
    run = write_run(tmp_path / "cut", statistics=False)
    (events,) = (run / "train" / "latest" / "run" / "logs" / "train").glob("events*")
    whole = len(curves(open_run(run))[HOSTILE]["train"])
    events.write_bytes(events.read_bytes()[:-5])
    assert len(curves(open_run(run))[HOSTILE]["train"]) == whole - 1


@pytest.mark.parametrize(
    ("result", "state", "words"),
    [
        (evaluation(), "good", "Blessed"),
        (evaluation(failures=["auc 0.9 < 0.95"]), "bad", "Not blessed"),
        (evaluation(judged=False), "open", "Not judged"),
    ],
)
def test_verdict_is_that_of_the_evaluation(tmp_path, result, state, words):
    verdict = verdict_of(open_run(write_run(tmp_path / "run", result, statistics=False)))
    assert verdict.state == state and verdict.text.startswith(words) and list(verdict.reasons) == list(result.failures)


def test_evaluation_of_earlier_results_is_no_verdict_on_the_new_ones(tmp_path):
    run = write_run(tmp_path / "run", statistics=False)
    finish_step(run, "train", lambda directory: {}, before=["transform"], key="again")
    verdict = verdict_of(open_run(run))
    assert verdict.state == "open" and "earlier results" in verdict.reasons[0]
    (chain,) = [b for b in section(page_of([open_run(run)]), "lineage").blocks if b.kind == "chain"]
    assert [name for name, _, remark in chain.lines if remark.startswith("made from earlier")] == ["export", "evaluate"]


@pytest.mark.parametrize("format", ["html", "md"])
def test_page_can_be_written_whatever_bytes_a_path_has_and_nothing_turns_or_hides_its_text(tmp_path, format):
    name = os.fsdecode(b"run\xff") + "\u202e\u200b`x`"
    table = Table(caption=name, columns=[Column(name, hint=name)], rows=[[Cell(name)]])
    blocks = [table, Block(kind="text", lines=(name,)), Block(kind="chain", lines=[(name, name, name)])]
    section = Section(name="data", title=name, blocks=blocks, missing=(name,))
    verdict = Verdict(run=name, state="good", text=name, reasons=(name,))
    page = Page(
        title=name, subtitle=name, verdicts=[verdict], tiles=[(name, name, name)], sections=[section], footer=name
    )
    text = write_page(render(page, format), tmp_path / "page").read_text(encoding="utf-8")
    assert "udcff" in text and not {"\u202e", "\u200b"} & set(text)


def test_a_comparison_in_markdown_cuts_nothing_that_the_text_says():
    result = evaluation()
    name = "city=" + "x" * 300
    change = Change(segment=name, rows=5000, metric="auc", before=0.9, after=0.5, half_width=0.01)
    comparison = Comparison(
        before=result, after=result, paired=True, changes=[change], only_before=[name + "b"], only_after=[name + "a"]
    )
    for show in (as_text, as_markdown):
        said = show(comparison, [], ("one", "two"), 10)
        assert said.count(name) == 4, said  # the reason, the row, both notes
    assert "<b>" not in as_markdown(comparison, [], ("one`<b>", "two"), 10), "names of runs are those of directories"


def test_two_runs_stand_side_by_side_with_what_changed(tmp_path):
    first = write_run(tmp_path / "a" / "run", evaluation(auc=0.9), statistics=False)
    second = write_run(tmp_path / "b" / "run", evaluation(auc=0.85), statistics=False)
    finish_step(second, "train", lambda directory: {}, before=["transform"], key="wide", parts={"train.epochs": "5"})
    page = page_of(open_runs([first, second]))
    assert [v.run for v in page.verdicts] == ["a/run", "b/run"]
    changes = table(page, "comparison", "Changes, with half of 95 % intervals as of two independent data sets")
    assert changes[0] == ["all rows", "auc", "1,000", "0.9000", "0.8500", "-0.0500 ±0.0071", "worse"]
    assert changes[2] == [f"{HOSTILE}={HOSTILE}", "auc", "500", "0.9000", "0.8500", "-0.0500 ±0.0141", "worse"]
    assert len(changes) == 2 * (1 + len(HOSTILE_VALUES)) and changes[-1][5:] == ["0 ±0.0283", ""]
    (chart,) = [b for b in section(page, "comparison").blocks if b.kind == "chart"]
    assert chart.values[1]["name"] == f"{HOSTILE}={HOSTILE}" and chart.values[1]["high"] == pytest.approx(
        -0.05 + 0.0002**0.5
    )
    assert table(page, "metrics", "Metrics over all rows")[0][1:] == ["0.9000 ±0.0050", "0.8500 ±0.0050", "-0.0500"]
    assert [row[1] for row in table(page, "metrics", "Metrics by")[:2]] == ["a/run", "b/run"]
    assert table(page, "settings", "What differs") == [["train.epochs", "3", "5"]]


def test_comparison_is_a_page_with_the_answer_its_reasons_and_what_changed(tmp_path, capsys):
    better, worse = (evaluation(auc=auc) for auc in (0.9, 0.8))
    words = [str(write_run(tmp_path / name, each, statistics=False)) for name, each in (("a", better), ("b", worse))]
    assert main(["compare", *words, "--out", str(tmp_path / "page.html")]) == NOT_MET
    assert "the second may not replace the first" in capsys.readouterr().out
    found = Parsed((tmp_path / "page.html").read_text())
    text = "".join(found.text)
    assert "The second may not replace the first" in text and "auc of all rows is worse: 0.9000 to 0.8000" in text
    assert "-0.1000 ±0.0071" in text and one_line(HOSTILE_VALUES[2]) in text and "What changed" in text
    assert main(["compare", *reversed(words), "--out", str(tmp_path / "page.md")]) == 0
    assert "✅ **The second may replace the first" in (tmp_path / "page.md").read_text()


def test_result_of_one_step_is_a_run_of_what_it_was_made_from(tmp_path):
    run = write_run(tmp_path / "run", statistics=False)
    old = (run / "evaluate" / "latest").resolve()
    finish_step(run, "train", lambda directory: {}, before=["transform"], key="again")
    earlier = open_run(old)
    assert list(earlier.steps) == ["ingest", "analyze", "transform", "train", "export", "evaluate"]
    assert earlier.steps["train"].directory.name.startswith("train") and verdict_of(earlier).state == "good"


def test_what_a_run_does_not_have_is_left_out_with_how_to_get_it(tmp_path):
    finish_step(tmp_path, "ingest", lambda directory: {})
    page = page_of([open_run(tmp_path)])
    assert verdict_of(open_run(tmp_path)).state == "open"
    for name in ("metrics", "curves", "fairness", "training", "transform"):
        assert section(page, name).missing and not section(page, name).blocks
    write_report([tmp_path], tmp_path / "page.html")


def test_markdown_keeps_names_of_a_run_text(run_dir, tmp_path):
    from markdown_it import MarkdownIt

    text = write_report([run_dir], tmp_path / "page.md").read_text()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    flat = [token for t in tokens for token in [t, *(t.children or [])]]
    assert {t.content.split()[0] for t in flat if t.type.startswith("html")} <= {"<details><summary>All", "</details>"}
    assert not [t for t in flat if t.type in ("link_open", "image", "code_inline")] and "@team" not in text
    words = "".join(t.content for t in flat if t.type == "text")
    assert HOSTILE in words and "## Metrics by segment" in text and "| auc | 0.9000 ±0.0050 |" in text


def test_report_of_the_same_results_is_not_written_again_and_of_others_is(tmp_path):
    run = write_run(tmp_path / "run", statistics=False)
    path = write_run_report(run)
    first = path.stat().st_mtime_ns
    assert path == run / "report.html" and write_run_report(run).stat().st_mtime_ns == first
    finish_step(run, "train", lambda directory: {}, before=["transform"], key="again")
    assert write_run_report(run).stat().st_mtime_ns > first


def test_run_says_that_the_report_is_missing_and_goes_on(tmp_path, monkeypatch, capsys):
    from cluster.cli.commands.run import write_report_page

    finish_step(tmp_path, "ingest", lambda directory: {})
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    assert write_report_page(str(tmp_path)) is None
    assert (
        capsys.readouterr().out
        == "report     not written: vl_convert is not installed: pip install 'fullpass[report]'\n"
    )
    assert not (tmp_path / "report.html").exists()


def test_damaged_file_is_named_and_no_page_is_left(tmp_path):
    run = write_run(tmp_path / "run", statistics=False)
    (run / "evaluate" / "latest" / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match=r"evaluation\.json"):
        write_report([run], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_no_run_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no finished step"):
        write_report([tmp_path], tmp_path / "page.html")


def test_built_package_has_the_templates(tmp_path):
    subprocess.run([sys.executable, "setup.py", "-q", "build_py", "--build-lib", tmp_path], cwd=ROOT, check=True)
    folder = ROOT / "cluster" / "report" / "templates"
    built = tmp_path / "cluster" / "report" / "templates"
    assert {p.name for p in built.iterdir()} == {p.name for p in folder.iterdir()}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5000"),
        (1e-7, "1e-07"),
        (1234.5, "1,234"),
        (3, "3"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_numbers_are_shown_as_people_read_them(value, text):
    assert shown(value) == text
    assert number(value).text == text
