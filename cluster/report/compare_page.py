"""The page of a comparison of two runs, which may be evaluations alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.pipeline.run_facts import Difference
from cluster.report.model import Block, Cell, Column, Page, Section, Table, Verdict
from cluster.report.sections.comparison import comparison_section
from engine.version import __version__

__all__ = ["comparison_page"]


def comparison_page(comparison: Any, changed: Sequence[Difference], names: tuple[str, str]) -> Page:
    """Returns the page.

    Args:
        comparison: a `trainers.evaluation.comparison.Comparison`.
        changed: what the runs were made of differently.
        names: of both runs, as they were given.
    """
    answer = comparison.answer
    verdict = Verdict(
        run=names[1],
        state="good" if comparison.may_replace else "bad",
        text=f"{answer[0].upper()}{answer[1:]}",
    )
    return Page(
        title="Comparison of two runs",
        subtitle=f"{names[0]} → {names[1]}",
        verdicts=[verdict],
        sections=[comparison_section(comparison, names), _changed(changed, names)],
        footer=f"Made by Fullpass {__version__} from {names[0]} and {names[1]}.",
    )


def _changed(changed: Sequence[Difference], names: tuple[str, str]) -> Section:
    if not changed:
        line = "Nothing that is on record changed in data, code or configuration."
        return Section(name="changed", title="What changed", blocks=[Block(kind="text", lines=(line,))])
    rows = [[Cell(e.name), Cell(e.concern), Cell(_value(e.before)), Cell(_value(e.after))] for e in changed]
    columns = [Column("what"), Column("of"), *(Column(name) for name in names)]
    table = Table(caption="What the runs were made of differently", columns=columns, rows=rows)
    return Section(name="changed", title="What changed", blocks=[table])


def _value(value: str | None) -> str:
    return "(none)" if value is None else value
