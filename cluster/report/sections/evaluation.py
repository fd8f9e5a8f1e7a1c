"""Sections of an evaluation: metrics overall and by segment, curves, fairness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cluster.report.charts import intervals
from cluster.report.model import Block, Cell, Column, Section, Table, number, shown
from cluster.report.runs import Run

__all__ = ["fairness_section", "metrics_section", "metrics_table"]

_MOST_ROWS = 2000  # segments in the table, the largest ones: the page must stay small enough to mail
_MOST_SHOWN = 40  # segments in the chart
_COUNTS = ("example_count", "weighted_example_count")
_HOW = "`[evaluate]` in the pipeline file, or `fullpass evaluate`"


def metrics_table(runs: Sequence[Run]) -> Table:
    """Returns all metrics over all rows, one column a run and one for its baseline; with two runs also what changed."""
    columns, cells = [Column("metric")], []
    evaluated = [run for run in runs if run.evaluation is not None]
    names = list(dict.fromkeys(n for run in evaluated for n in run.evaluation.overall if n not in _COUNTS))
    for run in evaluated:
        result = run.evaluation
        columns.append(Column(run.name if len(runs) > 1 else "all rows", numeric=True))
        cells.append([number(result.overall.get(n), result.half_widths.get(n)) for n in names])
        if result.baseline is not None:
            columns.append(Column("baseline" if len(runs) == 1 else f"{run.name}: baseline", numeric=True))
            cells.append([number(result.baseline.get(n)) for n in names])
    if len(evaluated) == 2:
        first, second = (run.evaluation.overall for run in evaluated)
        columns.append(Column("change", numeric=True, hint=f"{evaluated[1].name} less {evaluated[0].name}"))
        cells.append([_change(first.get(n), second.get(n)) for n in names])
    rows = [[Cell(name), *(column[i] for column in cells)] for i, name in enumerate(names)]
    return Table(
        caption="Metrics over all rows, with half of the 95 % interval where it is known", columns=columns, rows=rows
    )


def _change(first: float | None, second: float | None) -> Cell:
    if first is None or second is None or not math.isfinite(second - first):
        return Cell("–")
    text = shown(second - first)
    return Cell(text if second < first else f"+{text}", second - first)


def metrics_section(runs: Sequence[Run]) -> Section:
    """Returns the section of the metrics, overall and by segment."""
    evaluated = [run for run in runs if run.evaluation is not None]
    if not evaluated:
        return Section(name="metrics", title="Metrics", missing=(f"No evaluation: {_HOW} makes one.",))
    blocks: list[Any] = [metrics_table(runs)]
    missing = [f"{run.name}: no evaluation; {_HOW} makes one." for run in runs if run.evaluation is None]
    several = len(runs) > 1
    for columns in _groupings(evaluated):
        metric = _main_metric(evaluated, columns)
        if metric is not None:
            blocks.append(_segment_chart(evaluated, columns, metric, several))
        blocks.append(_segment_table(evaluated, columns, several))
    if len(blocks) == 1:
        missing.append(
            'No segments: `slices = [["COLUMN"]]` in [evaluate], or `fullpass evaluate --slice COLUMN`, makes them.'
        )
    return Section(name="metrics", title="Metrics by segment", blocks=blocks, missing=missing)


def _groupings(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(tuple(s.key) for run in runs for s in run.evaluation.slices))


def _main_metric(runs: Sequence[Run], columns: tuple[str, ...]) -> str | None:
    for name in runs[0].evaluation.overall:
        if name not in _COUNTS and any(
            math.isfinite(s.metrics.get(name, math.nan)) for run in runs for s in _segments(run, columns)
        ):
            return str(name)
    return None


def _segments(run: Run, columns: tuple[str, ...]) -> list[Any]:
    return [s for s in run.evaluation.slices if tuple(s.key) == columns]


def _segment_chart(runs: Sequence[Run], columns: tuple[str, ...], metric: str, several: bool) -> Any:
    values, names = [], list(dict.fromkeys(s.name for run in runs for s in _segments(run, columns)))[:_MOST_SHOWN]
    for run in runs:
        overall = run.evaluation.overall.get(metric, math.nan)
        entries = [("all rows", overall, run.evaluation.half_widths.get(metric))]
        entries += [
            (s.name, s.metrics.get(metric, math.nan), s.half_widths.get(metric)) for s in _segments(run, columns)
        ]
        for name, value, half in entries:
            if math.isfinite(value) and (name in names or name == "all rows"):
                half = half if half is not None and math.isfinite(half) else 0.0
                # A value may read "all rows", too.
                short = name != f"{columns[0]}=all rows" and len(columns) == 1
                name = name.removeprefix(f"{columns[0]}=") if short else name
                values.append({"name": name, "x": value, "low": value - half, "high": value + half, "s": run.name})
    title = f"{metric} by {', '.join(columns)}, with 95 % intervals"
    mark = runs[0].evaluation.overall.get(metric) if not several else None
    return intervals(title, values, metric, mark=mark)


def _segment_table(runs: Sequence[Run], columns: tuple[str, ...], several: bool) -> Table:
    metrics = list(dict.fromkeys(n for run in runs for n in run.evaluation.overall if n not in _COUNTS))
    found = {(run.name, s.name): s for run in runs for s in _segments(run, columns)}
    names = list(dict.fromkeys(name for _, name in found))
    head = [Column("segment"), *([Column("run")] if several else []), Column("rows", numeric=True)]
    rows = []
    for name in names[:_MOST_ROWS]:
        for run in runs:
            segment = found.get((run.name, name))
            if segment is not None:
                cells = [number(segment.metrics.get(m), segment.half_widths.get(m)) for m in metrics]
                rows.append([Cell(name), *([Cell(run.name)] if several else []), number(segment.rows), *cells])
    caption = f"Metrics by {', '.join(columns)}"
    if len(names) > _MOST_ROWS:
        caption += f" (the {_MOST_ROWS:,} largest of {len(names):,} segments; evaluation.json has all)"
    return Table(caption=caption, columns=[*head, *(Column(m, numeric=True) for m in metrics)], rows=rows)


def fairness_section(runs: Sequence[Run]) -> Section:
    """Returns, for each slice and metric, the lowest and the highest segment and the gap between them."""
    columns = [
        *(Column(t) for t in ("segments of", *(["run"] if len(runs) > 1 else []), "metric")),
        Column("lowest"),
        Column("highest"),
        Column("gap", numeric=True),
        Column("beyond chance", hint="the 95 % intervals of lowest and highest do not touch"),
    ]
    rows = []
    evaluated = [run for run in runs if run.evaluation is not None]
    for grouping in _groupings(evaluated):
        for run in evaluated:
            for metric in run.evaluation.overall:
                row = _gap(run, grouping, metric) if metric not in _COUNTS else None
                if row is not None:
                    rows.append([Cell(", ".join(grouping)), *([Cell(run.name)] if len(runs) > 1 else []), *row])
    if not rows:
        how = 'No segments to compare: `slices = [["COLUMN"]]` in [evaluate] makes them.'
        return Section(name="fairness", title="Fairness", missing=(how,))
    text = (
        "How far apart the segments of a column are. Small segments vary by chance: look at gaps that are beyond it. "
        "`max_gap` in [evaluate]'s thresholds refuses a model for one."
    )
    table = Table(caption="Gaps between segments", columns=columns, rows=rows)
    return Section(name="fairness", title="Fairness", blocks=[Block(kind="text", lines=(text,)), table])


def _gap(run: Run, grouping: tuple[str, ...], metric: str) -> list[Cell] | None:
    found = [
        (s.metrics[metric], s.half_widths.get(metric, math.nan), s)
        for s in _segments(run, grouping)
        if math.isfinite(s.metrics.get(metric, math.nan))
    ]
    if len(found) < 2:
        return None
    low, high = min(found, key=lambda f: f[0]), max(found, key=lambda f: f[0])
    apart = high[0] - high[1] > low[0] + low[1]
    known = math.isfinite(low[1]) and math.isfinite(high[1])

    def cell(entry: tuple[float, float, Any]) -> Cell:
        values = ", ".join("(missing)" if v is None else str(v) for v in entry[2].key.values())
        return Cell(f"{values}: {number(entry[0], entry[1]).text}", entry[0])

    return [
        Cell(metric),
        cell(low),
        cell(high),
        number(high[0] - low[0]),
        Cell(("yes" if apart else "no") if known else "–"),
    ]
