"""Vega-Lite charts; colours are the page's own variables.

Names of the user are data and the domain of colours, nothing else: Vega-Lite writes fields, titles and orders into expressions, and
does not quote all of what a name can hold. So titles of axes are words of our own, and rows keep the order of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.report.model import Cell, Chart, Column, Table, number

__all__ = ["bars", "dots", "flame", "heat", "intervals", "lines"]

_COLOURS = [f"var(--series-{i})" for i in range(1, 13)]
_MOST_IN_LEGEND = (
    24  # the colours twice: names of more would be higher than their chart, whose tooltips and table have them
)
_QUIET = "var(--quiet)"
_LOG = {"type": "log"}
_LABEL_SHARE = 0.08  # of the width of a flame graph: a name in a narrower bar would lie over its neighbours


def _table(caption: str, titles: Sequence[str], values: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> Table:
    columns = [Column(title, numeric=field not in ("s", "name")) for title, field in zip(titles, fields)]
    rows = [[Cell(str(v[f])) if f in ("s", "name") else number(v.get(f)) for f in fields] for v in values]
    return Table(caption=f"Values: {caption}", columns=columns, rows=rows, folded=True)


def _colour(series: Sequence[str]) -> dict[str, Any]:
    legend = {"title": None, "orient": "top", "symbolType": "square"} if 1 < len(series) <= _MOST_IN_LEGEND else None
    return {"field": "s", "type": "nominal", "scale": {"domain": list(series), "range": _COLOURS}, "legend": legend}


def _series(values: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(v["s"] for v in values))


def _axis(field: str, title: str | None, scale: Mapping[str, Any] | None = None) -> dict[str, Any]:
    scale = scale if scale is not None and scale.get("type") == "log" else {"zero": False, **(scale or {})}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale}


def lines(
    title: str,
    values: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    *,
    named: bool = False,
    diagonal: bool = False,
    points: bool = False,
    log: bool = False,
    unit: bool = False,
) -> Chart:
    """Returns a line chart of values {x, y, s}, one line a series `s`.

    Args:
        title: of the chart.
        values: the points.
        x, y: titles of the axes.
        named: `y` is a name of the user's, which the chart's title says.
        diagonal: draw the line x = y.
        points: mark the values on the lines.
        log: both axes are logarithmic.
        unit: both axes go from 0 to 1.
    """
    series = _series(values)
    scale: dict[str, Any] = {"domain": [0, 1], "nice": False} if unit else dict(_LOG) if log else {}
    encoding = {
        "x": _axis("x", x, scale=scale),
        "y": _axis("y", None if named else y, scale=scale),
        "color": _colour(series),
        "order": {"field": "i", "type": "quantitative"},
        "tooltip": [
            {"field": "s", "title": "series"},
            {"field": "x", "title": x, "format": ",.4~g"},
            {"field": "y", "title": "value" if named else y, "format": ",.4~g"},
        ],
    }
    mark = {"type": "line", "strokeWidth": 2, "point": {"size": 36, "filled": True} if points else False}
    layers: list[dict[str, Any]] = [{"mark": mark, "encoding": encoding}]
    if diagonal:
        ends = {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]}
        line = {"type": "line", "strokeDash": [4, 4], "color": _QUIET, "strokeWidth": 1}
        layers.insert(0, {"data": ends, "mark": line, "encoding": {"x": _axis("x", x), "y": _axis("y", y)}})
    table = _table(title, ["series", x, y], values, ["s", "x", "y"])
    return Chart(title=title, spec={"height": 240, "layer": layers}, values=_numbered(values), table=table)


def _numbered(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**value, "i": i} for i, value in enumerate(values)]


def intervals(
    title: str, values: Sequence[Mapping[str, Any]], x: str, *, mark: float | None = None, log: bool = False
) -> Chart:
    """Returns points {name, x, low, high, s} with their intervals, one row a name, in the order given.

    Args:
        title: of the chart.
        values: the points.
        x: name of the values, a metric's; it is the chart's title that says it.
        mark: a value to draw a line at, such as 1 for a ratio.
        log: the axis is logarithmic.
    """
    series, names = _series(values), list(dict.fromkeys(v["name"] for v in values))
    scale = dict(_LOG) if log else {}
    place: dict[str, Any] = {
        "y": {
            "field": "name",
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": {"grid": True},
        },
        "color": _colour(series),
    }
    if len(series) > 1:
        place["yOffset"] = {"field": "s", "sort": None}
    tooltip = [
        {"field": "name", "title": "name"},
        {"field": "s", "title": "series"},
        *({"field": f, "title": t, "format": ",.4~g"} for f, t in (("x", "value"), ("low", "low"), ("high", "high"))),
    ]
    ends = {"x": _axis("low", None, scale=scale), "x2": {"field": "high"}, **place}
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.55}, "encoding": ends},
        {
            "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
            "encoding": {"x": _axis("x", None, scale=scale), "tooltip": tooltip, **place},
        },
    ]
    if mark is not None:
        at = {"mark": {"type": "rule", "strokeDash": [4, 4], "color": _QUIET}, "data": {"values": [{"x": mark}]}}
        layers.insert(0, {**at, "encoding": {"x": _axis("x", None, scale=scale)}})
    step = 22 * max(1, len(series))
    table = _table(title, ["name", "series", x, "low", "high"], values, ["name", "s", "x", "low", "high"])
    return Chart(
        title=title, spec={"height": step * len(names), "layer": layers}, values=list(values), table=table, wide=True
    )


def dots(title: str, values: Sequence[Mapping[str, Any]], x: str, y: str) -> Chart:
    """Returns points {x, y, s, size} of shares against the line x = y; the size says how many rows a point stands for."""
    chart = lines(title, values, x, y, diagonal=True, points=True, unit=True)
    encoding = chart.spec["layer"][1]["encoding"]
    size = {"field": "size", "type": "quantitative", "legend": None, "scale": {"range": [20, 260]}}
    point = {"mark": {"type": "point", "filled": True, "opacity": 0.75}, "encoding": {**encoding, "size": size}}
    line = {"mark": {"type": "line", "strokeWidth": 1.5, "opacity": 0.6}, "encoding": encoding}
    table = _table(title, ["series", x, y, "rows"], values, ["s", "x", "y", "size"])
    return Chart(
        title=title,
        spec={**chart.spec, "layer": [chart.spec["layer"][0], line, point]},
        values=chart.values,
        table=table,
    )


def bars(title: str, values: Sequence[Mapping[str, Any]], x: str) -> Chart:
    """Returns horizontal bars {name, x, s}, one row a name, in the order given, series side by side."""
    series, names = _series(values), list(dict.fromkeys(v["name"] for v in values))
    encoding: dict[str, Any] = {
        "x": {"field": "x", "type": "quantitative", "title": x},
        "y": {"field": "name", "type": "nominal", "sort": None, "title": None},
        "color": _colour(series),
        "tooltip": [
            {"field": "name", "title": "name"},
            {"field": "s", "title": "series"},
            {"field": "x", "title": x, "format": ",.4~g"},
        ],
    }
    if len(series) > 1:
        encoding["yOffset"] = {"field": "s", "sort": None}
    height = (26 if len(series) == 1 else 18 * len(series)) * len(names)
    spec = {"height": height, "mark": {"type": "bar", "cornerRadiusEnd": 2}, "encoding": encoding}
    table = _table(title, ["name", "series", x], values, ["name", "s", "x"])
    return Chart(title=title, spec=spec, values=list(values), table=table, wide=True)


def flame(title: str, stages: Mapping[str, float], x: str) -> Chart:
    """Returns a flame graph: a bar a stage, as wide as what it took, those that it called below it, the longest first.

    Args:
        title: of the chart.
        stages: what each took itself, by the names from the outermost stage to it with `;` between, as flame graphs have them.
        x: title of the axis.
    """
    totals: dict[tuple[str, ...], float] = {}
    for path, own in stages.items():
        names = tuple(path.split(";"))
        for depth in range(1, len(names) + 1):
            totals[names[:depth]] = totals.get(names[:depth], 0.0) + own
    whole = sum(total for names, total in totals.items() if len(names) == 1)
    values: list[dict[str, Any]] = []

    def place(above: tuple[str, ...], start: float) -> None:
        below = [names for names in totals if len(names) == len(above) + 1 and names[: len(above)] == above]
        for names in sorted(below, key=lambda names: -totals[names]):
            took = totals[names]
            shown = names[-1] if took > _LABEL_SHARE * whole else ""
            place_of = {"x": start, "x2": start + took, "middle": start + took / 2, "depth": len(names), "label": shown}
            values.append({"name": names[-1], "took": took, "s": " > ".join(names), **place_of})
            place(names, start)
            start += took

    place((), 0.0)
    depth = max((value["depth"] for value in values), default=1)
    y = {"field": "depth", "type": "ordinal", "title": None, "axis": None}
    across = {"field": "x", "type": "quantitative", "title": x, "scale": {"domain": [0, whole], "nice": False}}
    tooltip = [{"field": "s", "title": "stage"}, {"field": "took", "title": x, "format": ",.3~g"}]
    colour = {"field": "depth", "type": "ordinal", "scale": {"range": _COLOURS}, "legend": None}
    bar = {"mark": {"type": "rect", "stroke": "var(--card)", "strokeWidth": 1, "opacity": 0.5}}
    room = {"expr": "max(1, scale('x', datum.x2) - scale('x', datum.x) - 4)"}  # of 0 it would be without a limit
    text = {"mark": {"type": "text", "limit": room, "color": "var(--text)", "fontSize": 11}}
    layers = [
        {**bar, "encoding": {"x": across, "x2": {"field": "x2"}, "y": y, "color": colour, "tooltip": tooltip}},
        {**text, "encoding": {"x": {**across, "field": "middle"}, "y": y, "text": {"field": "label"}}},
    ]
    table = _table(title, ["stage", x], values, ["s", "took"])
    return Chart(title=title, spec={"height": 24 * depth, "layer": layers}, values=values, table=table, wide=True)


def heat(title: str, values: Sequence[Mapping[str, Any]], x: str, y: str) -> Chart:
    """Returns a matrix {name, s, x}: a column a name, a row a series, the deeper the larger x."""
    order = list(dict.fromkeys(v["name"] for v in values))
    encoding = {
        "x": {"field": "name", "type": "nominal", "sort": None, "title": x, "axis": {"labelAngle": 0}},
        "y": {"field": "s", "type": "nominal", "sort": None, "title": y},
        "opacity": {"field": "x", "type": "quantitative", "legend": None, "scale": {"range": [0.04, 1]}},
        "tooltip": [{"field": "s", "title": y}, {"field": "name", "title": x}, {"field": "x", "format": ",.6~g"}],
    }
    spec = {"height": 26 * len(order), "mark": {"type": "rect", "color": _COLOURS[0]}, "encoding": encoding}
    return Chart(
        title=title, spec=spec, values=list(values), table=_table(title, [y, x, "rows"], values, ["s", "name", "x"])
    )
