"""A page stays small enough to mail, whatever a run holds, and says what it leaves out."""

import dataclasses
import re

from cluster.report import write_report
from cluster.report.html.fit import MOST_BYTES, fitted
from cluster.report.model import Block, Cell, Chart, Column, Page, Section, Table, Verdict
from tests.support.report_run import HOSTILE, evaluation, write_run
from trainers.evaluation.result import SliceResult

METRICS = [f"metric_{i}" for i in range(9)]


def _large(kinds, segments, value):
    values = dict.fromkeys(METRICS, 1 / 3)
    slices = [
        SliceResult(key={f"column {kind}": value(i)}, rows=1000, metrics=values, half_widths=values)
        for kind in range(kinds)
        for i in range(segments)
    ]
    failures = [f"metric_0 of column 0={i} is 0.3333, at least 0.9 is needed" for i in range(20_000)]
    return dataclasses.replace(evaluation(), overall=values, slices=slices, failures=failures)


def test_page_of_very_much_is_below_three_megabytes_and_says_what_it_cuts(tmp_path):
    run = write_run(
        tmp_path / "run", _large(4, 1200, lambda i: HOSTILE * (4000 if i == 9 else 20) + str(i)), statistics=False
    )
    page = write_report([run], tmp_path / "page.html").read_text()
    assert 2_500_000 < len(page.encode()) < MOST_BYTES  # most of the room is used
    captions = re.findall(r"<caption>(.*?)</caption>", page)
    rows = [re.search(r"\(the first ([\d,]+) of 1,200 rows, so that the page stays small", each) for each in captions]
    shares = [int(each[1].replace(",", "")) for each in rows if each]
    assert len(shares) == 4 and max(shares) - min(shares) <= 2, "tables of the same size have the same room"
    assert "and 19,800 more; the run&#39;s files have all" in page
    markdown = write_report([run], tmp_path / "page.md")
    assert markdown.stat().st_size < 3_000_000


def test_texts_are_cut_in_the_middle_and_stay_different():
    names = ["x" * 100_000 + end for end in ("a", "b")] + [f"{'x' * 400}{middle}{'x' * 900}" for middle in "ab"]
    table = Table(caption=names[0], columns=[Column(names[1])], rows=[[Cell(name)] for name in names])
    values = [{"name": name, "x": 1.0} for name in names]
    chart = Chart(title=names[2], spec={"domain": names}, values=values, table=table)
    page = fitted(
        Page(
            title=names[0],
            subtitle="s",
            verdicts=[Verdict(run="r", state="bad", text="t", reasons=names)],
            sections=[
                Section(name="n", title="t", blocks=[chart, Block(kind="text", lines=names), table], missing=names)
            ],
        ),
        10**9,
    )
    (section,), (verdict,) = page.sections, page.verdicts
    first, text, last = section.blocks
    shown = [row[0].text for row in last.rows]
    assert len(set(shown)) == 4 and all(len(each) < 600 for each in shown)
    assert shown[0].startswith("x" * 400 + "… (99,501 more characters, ") and shown[1].endswith("xb")
    assert shown == list(text.lines) == list(section.missing) == list(verdict.reasons) == list(first.spec["domain"])
    assert shown == [each["name"] for each in first.values] and (last.caption, page.title) == (shown[0], shown[0])
    assert [row[0].text for row in first.table.rows] == shown


def test_charts_without_room_are_left_out_and_it_is_said():
    table = Table(caption="Values", columns=[Column("x")], rows=[[Cell("1", 1.0)]])
    charts = [
        Chart(title=f"c{i}", spec={}, values=[{"x": 1.0}] * (10 if i != 1 else 5000), table=table) for i in range(3)
    ]
    page = Page(title="t", subtitle="s", sections=[Section(name="n", title="t", blocks=[*charts, table])])
    whole, less = fitted(page, 10**6).sections[0], fitted(page, 40_000).sections[0]
    assert [each.title for each in whole.blocks if isinstance(each, Chart)] == ["c0", "c1", "c2"] and not whole.missing
    assert [each.title for each in less.blocks if isinstance(each, Chart)] == ["c0", "c2"]
    assert less.missing == [
        "1 chart is left out, so that the page stays small enough to mail; the run's files have their values."
    ]


def test_tables_without_room_for_their_frames_are_left_out_and_it_is_said():
    tables = [Table(caption=f"t{i}", columns=[Column("x")], rows=[[Cell("1", 1.0)]] * 9) for i in range(2000)]
    page = Page(title="t", subtitle="s", sections=[Section(name="n", title="t", blocks=tables)])
    whole, less = fitted(page, 10**7).sections[0], fitted(page, 100_000).sections[0]
    assert list(whole.blocks) == tables and not whole.missing
    count = len(less.blocks)
    assert 10 < count < 200 and [each.caption.split()[0] for each in less.blocks] == [f"t{i}" for i in range(count)]
    assert less.missing == [
        f"{2000 - count:,} tables are left out, so that the page stays small enough to mail; the run's files have their values."
    ]
