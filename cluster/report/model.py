"""What a page shows, before it is HTML or Markdown: sections of tables, charts and lines of text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Block", "Cell", "Chart", "Column", "Page", "Section", "Table", "Verdict", "number", "shown"]

_LONG = 36  # characters


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: as shown.
        sort: what a column is ordered by; None: by the text.
        bars: heights of a small histogram that is drawn in the cell, of one or several series.
        flag: "good", "bad" or nothing; never the only sign, the text says the same.
    """

    text: str
    sort: float | None = None
    bars: tuple[tuple[float, ...], ...] = ()
    flag: str = ""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column: its title, whether it holds numbers, and what its title means."""

    title: str
    numeric: bool = False
    hint: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table that can be sorted and, where it is long, searched.

    Attributes:
        caption: what it holds.
        columns, rows: of `Cell`s, the first of a row names it.
        folded: shown on request only.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    kind: str = "table"

    @property
    def searchable(self) -> bool:
        """Whether it is too long to look through."""
        return len(self.rows) > 10

    @property
    def long_columns(self) -> frozenset[int]:
        """Columns of text that is broken into lines; the others stay on one."""
        words = [i for i, column in enumerate(self.columns) if not column.numeric]
        return frozenset(i for i in words if any(len(row[i].text) > _LONG for row in self.rows))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """A Vega-Lite chart, and its values as a table for those who cannot see or run it.

    Attributes:
        title: what it shows.
        spec: without data.
        values: the data, one mapping a mark.
        table: the same values.
        wide: takes the whole width of the page.
    """

    title: str
    spec: Mapping[str, Any]
    values: Sequence[Mapping[str, Any]]
    table: Table
    wide: bool = False
    kind: str = "chart"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """Lines: "text" of a paragraph each, "chain" of steps that follow each other, each (name, what it says, remark)."""

    kind: str
    lines: Sequence[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        name: of its place in the page, a word of our own.
        missing: what is not there and how to get it.
    """

    name: str
    title: str
    blocks: Sequence[Table | Chart | Block] = ()
    missing: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided of a run: "good", "bad" or "open", in words, with the reasons."""

    run: str
    state: str
    text: str
    reasons: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """A whole page.

    Attributes:
        title, subtitle: of the page.
        verdicts: one a run; none for a page without.
        tiles: the figures to see first, as (label, value, note).
        sections: the rest.
        footer: where it comes from.
        digest: of what it was made from; a page that has it already need not be written again.
    """

    title: str
    subtitle: str
    verdicts: Sequence[Verdict] = ()
    tiles: Sequence[tuple[str, str, str]] = ()
    sections: Sequence[Section] = ()
    footer: str = ""
    digest: str = ""


def shown(value: Any) -> str:
    """Returns a value as people read it: whole numbers with separators, others with four digits, what is no number as a dash."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return "–" if value is None else str(value)
    if not math.isfinite(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.1f}"
    return f"{value:.4f}" if size >= 0.001 else f"{value:.3g}"


def number(value: Any, half_width: float | None = None) -> Cell:
    """Returns the cell of a number, with half of its 95 % interval where that is known."""
    if value is None or isinstance(value, bool) or not math.isfinite(value):
        return Cell("–")
    text = shown(value)
    if half_width is not None and math.isfinite(half_width):
        text += f" ±{shown(half_width)}"
    return Cell(text, float(value))
