"""A comparison of two runs as text and as Markdown."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from cluster.pipeline.run_facts import Difference
from engine.core.text_encoding import in_markdown, one_line

__all__ = ["as_markdown", "as_text"]

_HEADER = ("segment", "rows", "metric", "before", "after", "change", "")


def as_text(comparison: Any, changed: Sequence[Difference], names: tuple[str, str], show: int) -> str:
    """Returns the comparison as plain text.

    Args:
        comparison: a `trainers.evaluation.comparison.Comparison`.
        changed: what the runs were made of differently.
        names: of both runs.
        show: most rows of the table of segments.
    """
    lines = [f"{names[0]} → {names[1]}", "", *(_difference(each) for each in changed)]
    lines += [] if changed else ["nothing that is on record changed in data, code or configuration"]
    table = [_HEADER, *_rows(comparison, show)]
    widths = [max(len(row[i]) for row in table) for i in range(len(_HEADER))]
    lines += [""] + [_padded(row, widths) for row in table]
    return "\n".join([*lines, *_notes(comparison, show), "", *_verdict(comparison)])


def as_markdown(comparison: Any, changed: Sequence[Difference], names: tuple[str, str], show: int) -> str:
    """Returns the comparison as Markdown, for a pull request; arguments as of `as_text`."""
    verdict = [_whole(line) for line in _verdict(comparison)]
    lines = [f"# {verdict[0][0].upper()}{verdict[0][1:]}", "", f"{_whole(names[0])} → {_whole(names[1])}", ""]
    lines += [f"* {line}" for line in verdict[1:]] + [""] * (len(verdict) > 1)
    if changed:
        lines += ["| changed | before | after |", "|---|---|---|"]
        cells = [(f"{e.concern}: {e.name}", _cell(e.before), _cell(e.after)) for e in changed]
        lines += [f"| {' | '.join(in_markdown(cell) for cell in row)} |" for row in cells] + [""]
    lines += [f"| {' | '.join(_HEADER)} |", "|---|---:|---|---:|---:|---:|---|"]
    lines += [f"| {' | '.join(_whole(cell) for cell in row)} |" for row in _rows(comparison, show)]
    return "\n".join([*lines, "", *(_whole(note) for note in _notes(comparison, show)), ""])


def _whole(text: str) -> str:
    """Nothing that the plain text says is cut here."""
    return in_markdown(text, sys.maxsize)


def _rows(comparison: Any, show: int) -> list[tuple[str, ...]]:
    """All rows together, then the segments that changed beyond their interval, the largest first."""
    overall = [each for each in comparison.changes if each.segment == "all rows"]
    return [_row(each) for each in [*overall, *_told(comparison)[:show]]]


def _told(comparison: Any) -> list[Any]:
    return [each for each in comparison.changes if each.segment != "all rows" and each.verdict]


def _row(each: Any) -> tuple[str, ...]:
    change = "–" if not math.isfinite(each.change) else f"{each.change:+.4f}"
    interval = f" ±{each.half_width:.4f}" if math.isfinite(each.half_width) else ""
    numbers = ("–" if not math.isfinite(value) else f"{value:.4f}" for value in (each.before, each.after))
    return (each.segment, f"{each.rows:,}", each.metric, *numbers, change + interval, each.verdict)


def _notes(comparison: Any, show: int) -> list[str]:
    notes = []
    segments = {each.segment for each in comparison.changes} - {"all rows"}
    told = {each.segment for each in _told(comparison)}
    if segments:
        notes.append(
            f"{len(segments) - len(told):,} of {len(segments):,} segments did not change beyond their intervals"
        )
    hidden = len(_told(comparison)) - show
    if hidden > 0:
        notes.append(f"{hidden:,} more changes of segments")
    for which, names in (("before", comparison.only_before), ("after", comparison.only_after)):
        if names:
            more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
            notes.append(f"only {which}: {'; '.join(names[:5])}{more}")
    how = "" if comparison.paired else "; evaluate both on the same data for narrower ones"
    return [*notes, f"{comparison.basis}{how}"]


def _verdict(comparison: Any) -> list[str]:
    if comparison.may_replace:
        return [comparison.answer]
    return [f"{comparison.answer}:", *(f"  {line}" for line in comparison.reasons)]


def _difference(each: Difference) -> str:
    return f"{each.concern}: {each.name}: {_cell(each.before)} → {_cell(each.after)}"


def _cell(value: str | None) -> str:
    if value is None:
        return "(none)"
    text = one_line(" ".join(str(value).split()))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    left = (0, 2, 6)
    cells = (cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
    return "  ".join(cells).rstrip()
