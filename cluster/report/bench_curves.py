"""Curves of benchmarks: how times grow with a size, how rates scale with cores, and where the time of our stages goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.report.bench_results import AT, Measured, figure
from cluster.report.charts import flame, lines
from cluster.report.model import Block, Chart, Section

__all__ = ["growth", "stages"]

Series = dict[str, list[dict[str, Any]]]


def growth(current: Sequence[Measured]) -> Section:
    """Returns the curves of benchmarks that noted sizes, a ladder of cores or rates at several sizes, or that differ in one number."""
    series: Series = {}
    for m in current:
        for title, point in (*_of_parameters(m), *_of_sizes(m)):
            series.setdefault(title, []).append(point)
    charts: list[Block | Chart] = []
    for title, values in series.items():
        if len({v["x"] for v in values}) > 1:
            values.sort(key=lambda v: (v["s"], v["x"]))
            charts.append(lines(title, values, "size", title, named=True, points=True, log=True))
    ladders = [chart for m in current for chart in _ladder(m)]
    text = Block(kind="text", lines=("Both axes are logarithmic: a straight line at 45° is growth in proportion.",))
    blocks = [*ladders, *([text, *charts] if charts else [])]
    return Section(name="growth", title="Scaling and growth", blocks=blocks)


def _of_parameters(m: Measured) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields points of a benchmark's one number among its parameters, and of what it noted as NAME_at_SIZE."""
    base = m.name.partition("[")[0]
    numbers = {k: v for k, v in m.params.items() if (figure(v) or 0) > 0}
    if len(numbers) == 1 and m.stats.get("median"):
        others = ", ".join(f"{k}={v}" for k, v in m.params.items() if k not in numbers)
        ((name, value),) = numbers.items()
        yield f"{base}: seconds by {name}", {"x": value, "y": m.stats["median"], "s": others or "median"}
    for key, value in m.extra.items():
        match = AT.fullmatch(key)
        if match and (figure(value) or 0) > 0 and int(match[2]) > 0:  # both axes are logarithmic
            yield f"{base}: {match[1]}", {"x": int(match[2]), "y": value, "s": match[1]}


def _of_sizes(m: Measured) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields points of processor time by size, and of the line through them: its fixed cost and its slope."""
    sizes, seconds = m.extra.get("sizes"), m.extra.get("cpu_s")
    if not isinstance(sizes, list) or not isinstance(seconds, list):
        return
    title = (
        f"{m.name.removeprefix('test_').replace('_', ' ')}: seconds of processor time by {m.extra.get('unit', 'size')}"
    )
    fixed, slope = figure(m.extra.get("fixed_cpu_s")), figure(m.extra.get("slope_cpu_us"))
    for size, took in zip(sizes, seconds, strict=False):
        if (figure(size) or 0) <= 0 or (figure(took) or 0) <= 0:
            continue
        yield title, {"x": size, "y": took, "s": "measured"}
        fitted = None if fixed is None or slope is None else fixed + 1e-6 * slope * size
        if fitted is not None and fitted > 0:
            yield title, {"x": size, "y": fitted, "s": "fixed cost and slope"}


def _ladder(m: Measured) -> Iterator[Chart]:
    """Yields a chart of rates by number of cores; what a curve says of more is a series that is called a prediction."""
    ladder = m.extra.get("ladder")
    if not isinstance(ladder, Mapping):
        return
    cores, rates, predicted = ladder.get("cores"), ladder.get("rates"), ladder.get("predicted")
    if not isinstance(cores, list) or not isinstance(rates, Mapping):
        return
    values = []
    for name, by_cores in rates.items():
        points = [
            (k, figure(each[0])) for k, each in zip(cores, by_cores, strict=False) if isinstance(each, list) and each
        ]
        values += [{"x": k, "y": rate, "s": str(name)} for k, rate in points if rate is not None]
        curve = predicted.get(name) if isinstance(predicted, Mapping) else None
        if isinstance(curve, Mapping) and points:
            law = "usl" if figure(curve.get("usl")) is not None else "amdahl"
            ahead, rate = figure(curve.get("cores")), figure(curve.get(law))
            if ahead is not None and rate is not None and points[-1][1] is not None:
                what = f"{name}, predicted ({'USL' if law == 'usl' else 'Amdahl'})"
                values += [{"x": points[-1][0], "y": points[-1][1], "s": what}, {"x": ahead, "y": rate, "s": what}]
    if values:
        title = f"{ladder.get('what', m.name)}: {ladder.get('unit', 'unit')}s a second by cores"
        yield lines(title, values, "cores", title, named=True, points=True)


def stages(current: Sequence[Measured]) -> Section:
    """Returns where the time of our stages went: a flame graph of each benchmark that noted `stages`, a mapping of stage to seconds."""
    charts = []
    for m in current:
        found = m.extra.get("stages")
        if isinstance(found, Mapping):
            values = {str(k): float(v) for k, v in found.items() if (figure(v) or 0) > 0}
            if values:
                charts.append(flame(f"{m.label}: seconds of each stage", values, "seconds"))
    return Section(name="stages", title="Time of our stages", blocks=list(charts))
