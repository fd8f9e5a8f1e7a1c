"""A page as Markdown, for a pull request: the same model, without charts; long tables are cut."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.report.model import Block, Chart, Page, Table
from engine.core.text_encoding import in_markdown, visible

__all__ = ["render_markdown"]

_MOST_ROWS = 30


def render_markdown(page: Page) -> str:
    """Returns the page as GitHub's Markdown; what files of the run say is escaped."""
    lines = [f"# {in_markdown(page.title)}", "", in_markdown(page.subtitle), ""]
    for verdict in page.verdicts:
        name = f"{in_markdown(verdict.run)}: " if len(page.verdicts) > 1 else ""
        mark = {"good": "✅", "bad": "❌", "open": "❔"}[verdict.state]
        lines += [f"{mark} **{name}{in_markdown(verdict.text)}**", ""]
        lines += [f"- {in_markdown(reason)}" for reason in verdict.reasons]
        lines += [""] if verdict.reasons else []
    if page.tiles:
        lines += ["| | | |", "|---|---:|---|"]
        lines += [
            f"| {in_markdown(label)} | {in_markdown(value)} | {in_markdown(note)} |"
            for label, value, note in page.tiles
        ] + [""]
    for section in page.sections:
        body = [line for block in section.blocks for line in _block(block)]
        body += [f"*{in_markdown(line)}*" for line in section.missing]
        if body:
            lines += [f"## {in_markdown(section.title)}", "", *body, ""]
    return "\n".join([*lines, in_markdown(page.footer), ""])


def _block(block: Table | Chart | Block) -> Iterator[str]:
    if isinstance(block, Table) and block.rows:
        yield from _table(block)
    elif isinstance(block, Block) and block.kind == "chain":
        yield " → ".join(f"{in_markdown(name)} ({in_markdown(says)})" for name, says, _ in block.lines)
        yield ""
    elif isinstance(block, Block):
        for line in block.lines:
            yield from (in_markdown(line), "")


def _table(table: Table) -> Iterator[str]:
    shown = [i for i, _ in enumerate(table.columns) if any(row[i].text for row in table.rows)]
    if table.folded:
        yield from (f"<details><summary>{_html(table.caption)}</summary>", "")
    else:
        yield from (f"**{in_markdown(table.caption)}**", "")
    yield "| " + " | ".join(in_markdown(table.columns[i].title) for i in shown) + " |"
    yield "|" + "|".join("---:" if table.columns[i].numeric else "---" for i in shown) + "|"
    for row in table.rows[:_MOST_ROWS]:
        yield "| " + " | ".join(in_markdown(row[i].text) for i in shown) + " |"
    if len(table.rows) > _MOST_ROWS:
        yield from ("", f"{len(table.rows) - _MOST_ROWS:,} more rows in the HTML page.")
    yield ""
    if table.folded:
        yield from ("</details>", "")


def _html(text: str) -> str:
    import html

    return html.escape(visible(" ".join(text.split())))
