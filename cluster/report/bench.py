"""The page of benchmarks: ratios with their spread, growth, history and stages, from files in pytest-benchmark's format."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence

from cluster.report.bench_curves import growth, stages
from cluster.report.bench_results import Measured, figure, machines, read_results
from cluster.report.charts import intervals, lines
from cluster.report.model import Cell, Column, Page, Section, Table, number, shown
from engine.version import __version__

__all__ = ["bench_page"]


def bench_page(paths: Sequence[str | os.PathLike[str]]) -> Page:
    """Returns the page of results.

    Args:
        paths: JSON files that `pytest --benchmark-json` or the benchmarks' own suite wrote, or directories of them.

    Raises:
        ConfigError: no results there.
        DataError: a file that is not pytest-benchmark's.
    """
    found = read_results(paths)
    newest: dict[tuple[str, str, str], Measured] = {}
    for measured in sorted(found, key=lambda m: m.when):
        newest[(measured.machine, measured.case, measured.name)] = measured
    current = list(newest.values())
    ratios = [m for m in current if m.ratio]
    sections = [
        *_ratio_sections(ratios),
        _plain(current),
        growth(current),
        _history(found),
        stages(current),
        machines(found),
    ]
    ahead = [m for m in ratios if m.ratio >= 1]
    tiles = [("benchmarks", shown(len(current)), f"{len({m.case for m in current})} cases")]
    if ratios:
        middle = statistics.median(m.ratio for m in ratios)
        tiles += [
            ("faster than the peer", f"{len(ahead)} of {len(ratios)}", "by the median of pairs"),
            ("median ratio", f"{middle:.1f} ×", "of processor time where it was taken"),
        ]
    tiles.append(("machines", shown(len({m.machine for m in current})), ""))
    return Page(
        title="Benchmarks",
        subtitle=f"Measured {min(m.when for m in found)[:10]} to {max(m.when for m in found)[:10]}",
        tiles=tiles,
        sections=[s for s in sections if s.blocks],
        footer=f"Made by Fullpass {__version__} from {len(found):,} results.",
    )


def _ratio_sections(ratios: Sequence[Measured]) -> list[Section]:
    sections = []
    for i, case in enumerate(dict.fromkeys(m.case for m in ratios)):
        mine = sorted((m for m in ratios if m.case == case), key=lambda m: -m.ratio)
        values = []
        for m in mine:
            for key, series in (("cpu_ratio", "processor time"), ("ratio", "clock")):
                spread = m.spread(key)
                if spread:
                    median, least, greatest = spread
                    values.append({"name": m.label, "x": median, "low": least, "high": greatest, "s": series})
        title = f"{case}: times faster than the peer, median of pairs with least and greatest; left of 1 we lose"
        chart = intervals(title, values, "ratio", mark=1, log=True)
        sections.append(Section(name=f"case-{i}", title=case, blocks=[chart, _ratio_table(mine)]))
    return sections


def _ratio_table(mine: Sequence[Measured]) -> Table:
    columns = [Column("what"), Column("peer"), Column("version")]
    columns += [
        Column(t, numeric=True) for t in ("of processor time", "on the clock", "pairs", "records/s", "MB/s", "load")
    ]
    columns += [Column("cache"), Column("commit"), Column("date")]
    rows = []
    for m in mine:
        extra = m.extra
        load = extra.get("load")
        size = figure(extra.get("bytes_per_s"))
        rows.append(
            [
                Cell(str(extra.get("what") or m.name)),
                Cell(str(extra.get("peer", "–")).replace("`", "")),
                Cell(str(extra.get("peer_version") or "–")),
                _spread_cell(m.spread("cpu_ratio")),
                _spread_cell(m.spread("ratio")),
                number(figure(extra.get("pairs"))),
                number(figure(extra.get("records_per_s"))),
                number(None if size is None else size / 1e6),
                number(figure(load[0]) if isinstance(load, list) and load else None),
                Cell(str(extra.get("cache", "–"))),
                Cell(m.commit or "–"),
                Cell(m.when[:10]),
            ]
        )
    return Table(caption="Ratios to the peer: median (least to greatest)", columns=columns, rows=rows)


def _spread_cell(spread: tuple[float, float, float] | None) -> Cell:
    if spread is None:
        return Cell("–")
    median, least, greatest = (f"{v:.2f}" if v < 10 else f"{v:.1f}" if v < 100 else f"{v:,.0f}" for v in spread)
    return Cell(f"{median} ({least} to {greatest})", spread[0])


def _plain(current: Sequence[Measured]) -> Section:
    """Returns the times of benchmarks that have no peer."""
    rows = [
        [Cell(m.label), Cell(m.case), *(number(m.stats.get(k)) for k in ("median", "min", "max", "stddev", "rounds"))]
        for m in current
        if not m.extra.get("peer")
    ]
    columns = [
        Column("what"),
        Column("case"),
        *(Column(f"{t} s", numeric=True) for t in ("median", "least", "greatest", "deviation")),
    ]
    columns.append(Column("rounds", numeric=True))
    table = Table(caption="Seconds of one round", columns=columns, rows=rows)
    return Section(name="seconds", title="Measured without a peer", blocks=[table] if rows else [])


def _history(found: Sequence[Measured]) -> Section:
    """Returns ratios over time where a benchmark was measured more than once on one machine."""
    by_name: dict[tuple[str, str, str], list[Measured]] = {}
    for m in found:
        by_name.setdefault((m.machine, m.case, m.name), []).append(m)
    values, rows = [], []
    for (machine, _case, _name), times in by_name.items():
        times = sorted({m.when: m for m in times}.values(), key=lambda m: m.when)
        if len(times) < 2:
            continue
        base = times[0].ratio or times[0].stats.get("median", math.nan)
        for i, m in enumerate(times):
            figure = m.ratio or m.stats.get("median", math.nan)
            gain = (figure / base if m.ratio else base / figure) if base and figure else math.nan
            if math.isfinite(gain):
                values.append({"x": i + 1, "y": gain, "s": m.label})
            rows.append([Cell(m.label), Cell(machine), Cell(m.when[:16]), Cell(m.commit), number(figure), number(gain)])
    if not rows:
        return Section(name="history", title="History")
    columns = [Column(t) for t in ("what", "machine", "date", "commit")]
    columns += [
        Column("ratio or seconds", numeric=True),
        Column("against the first", numeric=True, hint="above 1: better than at first"),
    ]
    title = "Each benchmark against its first measurement; below 1 it got slower"
    chart = lines(title, values, "measurement", "times as good as the first", points=True)
    return Section(
        name="history", title="History by version", blocks=[chart, Table(caption="History", columns=columns, rows=rows)]
    )
