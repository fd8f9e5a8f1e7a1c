"""How the outcome of an evaluation is shown: a table of plain text, and Markdown."""

from __future__ import annotations

import io
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from engine.core.errors import ConfigError, listed
from engine.core.text_encoding import in_markdown

if TYPE_CHECKING:
    from trainers.evaluation.result import EvaluationResult, SliceResult

__all__ = ["markdown", "table"]

_LONGEST = 200  # characters of a segment
_WIDE = 1 << 20  # columns are never cut for want of room


def table(result: EvaluationResult, show: int, metrics: Sequence[str] | None) -> str:
    """Returns the metrics as a table of plain text.

    Args:
        result: of an evaluation.
        show: most segments of each kind, the largest first.
        metrics: which; None for all.

    Raises:
        ConfigError: none of the rows has such a metric.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    header, rows, hidden = _rows(result, show, metrics)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(Text(name), justify="left" if i == 0 else "right", no_wrap=True)
    for name, *cells in rows:  # as they are: "[red]" is a value of data, not a colour
        table.add_row(*(Text(cell) for cell in (_cut(name, _LONGEST), *cells)))
    out = io.StringIO()
    Console(file=out, width=_WIDE, force_terminal=False, color_system=None).print(table)
    lines = [line.rstrip() for line in out.getvalue().split("\n") if line.strip()]
    return "\n".join([*lines, *hidden, *_verdict(result)])


def markdown(result: EvaluationResult, show: int) -> str:
    """Returns the metrics as Markdown.

    Args:
        result: of an evaluation.
        show: most segments of each kind.
    """
    header, rows, hidden = _rows(result, show, None)
    lines = [
        "# Evaluation",
        "",
        f"Model {in_markdown(result.model, sys.maxsize)} (sha256 {result.model_sha256}), label {in_markdown(result.label, sys.maxsize)}, "
        f"{result.rows:,} rows.",
        "",
    ]
    lines += ["| " + " | ".join(map(in_markdown, header)) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    lines += ["| " + " | ".join(map(in_markdown, row)) + " |" for row in rows]
    notes = [in_markdown(line, sys.maxsize) for line in (*hidden, *_verdict(result))]  # a verdict is never cut
    return "\n".join([*lines, "", *notes, ""])


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _rows(
    result: EvaluationResult, show: int, metrics: Sequence[str] | None
) -> tuple[list[str], list[list[str]], list[str]]:
    each = (result.overall, result.baseline or {}, *(s.metrics for s in result.slices))
    there = [n for n in dict.fromkeys(itertools.chain(*each)) if n != "example_count"]
    names = list(metrics) if metrics is not None else there
    for name in names:
        if name not in there and name != "example_count":
            raise ConfigError(f"metric {name!r} not found; the evaluation has {listed(there)}")
    rows = [["all rows", f"{result.rows:,}", *_cells(names, result.overall, result)]]
    if result.baseline is not None:
        rows.append(["baseline, all rows", f"{result.rows:,}", *_cells(names, result.baseline)])
    hidden = []
    for columns in dict.fromkeys(tuple(s.key) for s in result.slices):
        segments = [s for s in result.slices if tuple(s.key) == columns]
        rows += [[s.name, f"{s.rows:,}", *_cells(names, s.metrics, s)] for s in segments[:show]]
        if len(segments) > show:
            hidden.append(f"{len(segments) - show:,} more segments of {', '.join(columns)}")
    return ["segment", "rows", *names], rows, hidden


def _cells(
    names: Sequence[str], metrics: Mapping[str, float], of: EvaluationResult | SliceResult | None = None
) -> list[str]:
    half_widths, error_bounds = (of.half_widths, of.error_bounds) if of is not None else ({}, {})
    return [_shown(metrics.get(n, math.nan), half_widths.get(n), error_bounds.get(n, 0.0)) for n in names]


def _verdict(result: EvaluationResult) -> list[str]:
    if not result.judged:
        return []
    left_out = ["not judged:", *(f"  {line}" for line in result.not_judged)] if result.not_judged else []
    if result.blessed:
        return ["blessed: all thresholds are met", *left_out]
    return ["not blessed:", *(f"  {line}" for line in result.failures), *left_out]


def _shown(value: float, half_width: float | None = None, error_bound: float = 0.0) -> str:
    if not math.isfinite(value):
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 10000 else f"{value:.4f}"
    if half_width is not None and math.isfinite(half_width):
        text += f" ±{half_width:.4f}"
    return f"{text} (exact to {error_bound:.0e})" if error_bound > 0 else text
