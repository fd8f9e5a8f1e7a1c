"""The section of a comparison: whether the second run may replace the first, and each change with the interval of the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cluster.report.charts import intervals
from cluster.report.model import Block, Cell, Chart, Column, Section, Table, number, shown
from cluster.report.runs import Run

__all__ = ["comparison_section", "runs_compared"]

_MOST_ROWS = 2000  # changes in the table: the page must stay small enough to mail
_MOST_SHOWN = 40  # segments in the chart
_MOST_REASONS = 8
_MOST_NAMED = 5
_FLAGS = {"better": "good", "worse": "bad"}


def runs_compared(runs: Sequence[Run]) -> list[Section]:
    """Returns the section of two runs that were both evaluated, the first being what is served; none of others."""
    from trainers.evaluation.comparison import compare

    if len(runs) != 2 or any(run.evaluation is None for run in runs):
        return []
    before, after = runs
    section = comparison_section(compare(before.evaluation, after.evaluation), (before.name, after.name))
    return [section]


def comparison_section(comparison: Any, names: tuple[str, str]) -> Section:
    """Returns the section.

    Args:
        comparison: a `trainers.evaluation.comparison.Comparison`.
        names: of both runs.
    """
    lines = [f"{names[0]} → {names[1]}: {comparison.answer}"]
    lines += [f"· {reason}" for reason in comparison.reasons[:_MOST_REASONS]]
    if len(comparison.reasons) > _MOST_REASONS:
        lines.append(f"· and {len(comparison.reasons) - _MOST_REASONS:,} more, in the table below")
    for which, segments in zip(names, (comparison.only_before, comparison.only_after)):
        if segments:
            more = f" and {len(segments) - _MOST_NAMED:,} more" if len(segments) > _MOST_NAMED else ""
            lines.append(f"Segments of {which} alone: {'; '.join(segments[:_MOST_NAMED])}{more}")
    blocks: list[Any] = [Block(kind="text", lines=lines), *_chart(comparison, names), _table(comparison, names)]
    return Section(name="comparison", title="Comparison", blocks=blocks)


def _chart(comparison: Any, names: tuple[str, str]) -> list[Chart]:
    """The change of the first metric, segment by segment, where anything is known of it."""
    known = [c for c in comparison.changes if math.isfinite(c.change)]
    if not known:
        return []
    metric = known[0].metric
    values = []
    for each in [c for c in known if c.metric == metric][: _MOST_SHOWN + 1]:
        half = each.half_width if math.isfinite(each.half_width) else 0.0
        ends = {"low": each.change - half, "high": each.change + half}
        values.append({"name": each.segment, "x": each.change, **ends, "s": names[1]})
    return [intervals(f"Change of {metric}, with {comparison.basis}", values, metric, mark=0.0)]


def _table(comparison: Any, names: tuple[str, str]) -> Table:
    columns = [Column("segment"), Column("metric"), Column("rows", numeric=True)]
    columns += [Column(name, numeric=True) for name in names]
    columns += [Column("change", numeric=True), Column("beyond chance", hint="the interval of the change leaves 0 out")]
    # What the whole data say comes first, then what is sure; the rest follows in the order of size.
    changes = sorted(comparison.changes, key=lambda c: (c.segment != "all rows", not c.verdict))
    caption = f"Changes, with half of {comparison.basis}"
    if len(changes) > _MOST_ROWS:
        caption += f" ({_MOST_ROWS:,} of {len(changes):,}; `fullpass compare --format json` has all)"
    rows = []
    for each in changes[:_MOST_ROWS]:
        cells = [Cell(each.segment), Cell(each.metric), number(each.rows), number(each.before), number(each.after)]
        rows.append([*cells, _change(each), Cell(each.verdict, flag=_FLAGS.get(each.verdict, ""))])
    return Table(caption=caption, columns=columns, rows=rows)


def _change(each: Any) -> Cell:
    if not math.isfinite(each.change):
        return Cell("–")
    text = f"{'+' if each.change > 0 else ''}{shown(each.change)}"
    return Cell(f"{text} ±{shown(each.half_width)}" if math.isfinite(each.half_width) else text, each.change)
