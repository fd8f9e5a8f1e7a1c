"""A page that can be mailed: what is longest is cut until the file is small enough, and says so; the run's files have all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.report.model import Block, Cell, Chart, Column, Page, Section, Table, Verdict
from engine.core.text_encoding import visible

__all__ = ["MOST_BYTES", "fitted"]

MOST_BYTES = 2_900_000
_LONGEST = 1000  # characters of a text, of which so many stay:
_HEAD, _TAIL = 400, 100
_MOST_LINES = 200  # of a list
_FOR_CHARTS, _FOR_FRAMES = 0.4, 0.3  # parts of the room; a table's frame is all of it but its rows
_MARKUP, _SORT = 30, 12  # bytes about a cell's text, and about the number that it is sorted by
_LEFT_OUT = "{} left out, so that the page stays small enough to mail; the run's files have their values."


def fitted(page: Page, room: int) -> Page:
    """Returns the page with texts of no more than `_LONGEST` characters, and no more charts, tables and rows than there is room for.

    Charts come first, then tables, in the order of the page; the rows of all tables have the same room, of which short ones leave some
    to the others.

    Args:
        page: to be written as HTML.
        room: bytes for charts and tables.
    """
    page = _shortened(page)
    places, taken = _kept(page, room)
    page = dataclasses.replace(
        page,
        verdicts=[dataclasses.replace(each, reasons=_first(each.reasons)) for each in page.verdicts],
        sections=[_with_blocks(each, kept) for each, kept in zip(page.sections, places)],
    )
    blocks = [block for section in page.sections for block in section.blocks]
    tables = [block.table if isinstance(block, Chart) else block for block in blocks if not isinstance(block, Block)]
    costs = [_costs(table) for table in tables]
    share = _share([sum(each) for each in costs], room - taken)
    cut = {id(table): _cut(table, each, share) for table, each in zip(tables, costs)}
    sections = [
        dataclasses.replace(each, blocks=[_with_table(b, cut) for b in each.blocks], missing=_first(each.missing))
        for each in page.sections
    ]
    return dataclasses.replace(page, sections=sections)


def _shortened(value: Any) -> Any:
    """The value with each text in it shortened; what was the same stays the same, and what differed stays different."""
    if isinstance(value, str):
        if len(value) <= _LONGEST:
            return value
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        left = len(value) - _HEAD - _TAIL
        return f"{value[:_HEAD]}… ({left:,} more characters, {digest}) …{value[-_TAIL:]}"
    if isinstance(value, Cell):  # there are many: most are as they were
        return value if len(value.text) <= _LONGEST else dataclasses.replace(value, text=_shortened(value.text))
    if isinstance(value, Page | Section | Table | Chart | Block | Verdict | Column):
        fields = {each.name: _shortened(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return type(value)(**fields)
    if isinstance(value, Mapping):
        return {key: _shortened(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(each) for each in value]
    return value


def _first(lines: Sequence[Any]) -> Sequence[Any]:
    if len(lines) <= _MOST_LINES:
        return lines
    return [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES:,} more; the run's files have all"]


def _kept(page: Page, room: float) -> tuple[list[set[int]], int]:
    """The places of the charts and tables that there is room for, by section, and the bytes of these without rows."""
    left = {Chart: _FOR_CHARTS * room, Table: _FOR_FRAMES * room}
    found, taken = [], 0
    for section in page.sections:
        kept: set[int] = set()
        for place, block in enumerate(section.blocks):
            if isinstance(block, Chart | Table):
                size = _chart_bytes(block) if isinstance(block, Chart) else _frame_bytes(block)
                if size <= left[type(block)]:
                    left[type(block)] -= size
                    taken += size
                    kept.add(place)
        found.append(kept)
    return found, taken


def _with_blocks(section: Section, kept: set[int]) -> Section:
    """The section without its other charts and tables; lists of lines are cut, too."""
    blocks: list[Any] = []
    left_out = {Chart: 0, Table: 0}
    for place, block in enumerate(section.blocks):
        if isinstance(block, Chart | Table) and place not in kept:
            left_out[type(block)] += 1
        elif isinstance(block, Block) and block.kind == "text":
            blocks.append(dataclasses.replace(block, lines=_first(block.lines)))
        else:
            blocks.append(block)
    counts = [
        f"1 {kind.__name__.lower()} is" if count == 1 else f"{count:,} {kind.__name__.lower()}s are"
        for kind, count in left_out.items()
        if count
    ]
    return dataclasses.replace(section, blocks=blocks, missing=[*section.missing, *map(_LEFT_OUT.format, counts)])


def _chart_bytes(chart: Chart) -> int:
    text = json.dumps({**chart.spec, "data": {"values": list(chart.values)}})
    return len(text) + 5 * sum(text.count(each) for each in "<>&'") + 300 + _frame_bytes(chart.table)


def _frame_bytes(table: Table) -> int:
    """Bytes of a table without rows: its caption stands there three times at most."""
    return 500 + 3 * _text_bytes(table.caption) + sum(80 + _text_bytes(c.title + c.hint) for c in table.columns)


def _costs(table: Table) -> list[int]:
    """Bytes of each row."""
    return [20 + sum(_cell_bytes(cell) for cell in row) for row in table.rows]


def _cell_bytes(cell: Cell) -> int:
    size = _text_bytes(cell.text)
    size += 0 if cell.sort is None else _SORT + len(str(cell.sort))
    return size + _MARKUP + sum(120 + 60 * len(bars) for bars in cell.bars)


def _text_bytes(text: str) -> int:
    """Bytes of a text as the page has it."""
    text = visible(text)
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return size + 5 * sum(text.count(each) for each in "<>&'\"")


def _share(sizes: Sequence[int], room: int) -> float:
    """The most bytes of a table, so that all together have the room."""
    left = float(room)
    ascending = sorted(sizes)
    for place, size in enumerate(ascending):
        share = left / (len(ascending) - place)
        if size > share:
            return share
        left -= size
    return float("inf")


def _cut(table: Table, costs: Sequence[int], share: float) -> Table:
    rows = 0
    for cost in costs:
        share -= cost
        if share < 0:
            break
        rows += 1
    if rows == len(costs):
        return table
    caption = (
        f"{table.caption} (the first {rows:,} of {len(costs):,} rows, so that the page stays small enough to mail)"
    )
    return dataclasses.replace(table, caption=caption, rows=table.rows[:rows])


def _with_table(block: Any, cut: Mapping[int, Table]) -> Any:
    if isinstance(block, Chart):
        return dataclasses.replace(block, table=cut[id(block.table)])
    return cut[id(block)] if isinstance(block, Table) else block
