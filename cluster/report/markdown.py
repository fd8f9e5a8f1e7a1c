"""A page as Markdown, for a pull request: the same model, without charts; long tables are cut."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cluster.report.model import Block, Chart, Page, Table, visible

__all__ = ["render_markdown"]

_MOST_ROWS = 30
_LONGEST = 200
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~!&@])")


def render_markdown(page: Page) -> str:
    """Returns the page as GitHub's Markdown; what files of the run say is escaped."""
    lines = [f"# {_text(page.title)}", "", _text(page.subtitle), ""]
    for verdict in page.verdicts:
        name = f"{_text(verdict.run)}: " if len(page.verdicts) > 1 else ""
        mark = {"good": "✅", "bad": "❌", "open": "❔"}[verdict.state]
        lines += [f"{mark} **{name}{_text(verdict.text)}**", ""]
        lines += [f"- {_text(reason)}" for reason in verdict.reasons]
        lines += [""] if verdict.reasons else []
    if page.tiles:
        lines += ["| | | |", "|---|---:|---|"]
        lines += [f"| {_text(label)} | {_text(value)} | {_text(note)} |" for label, value, note in page.tiles] + [""]
    for section in page.sections:
        body = [line for block in section.blocks for line in _block(block)]
        body += [f"*{_text(line)}*" for line in section.missing]
        if body:
            lines += [f"## {_text(section.title)}", "", *body, ""]
    return "\n".join([*lines, _text(page.footer), ""])


def _block(block: Table | Chart | Block) -> Iterator[str]:
    if isinstance(block, Table) and block.rows:
        yield from _table(block)
    elif isinstance(block, Block) and block.kind == "chain":
        yield " → ".join(f"{_text(name)} ({_text(says)})" for name, says, _ in block.lines)
        yield ""
    elif isinstance(block, Block):
        for line in block.lines:
            yield from (_text(line), "")


def _table(table: Table) -> Iterator[str]:
    shown = [i for i, _ in enumerate(table.columns) if any(row[i].text for row in table.rows)]
    if table.folded:
        yield from (f"<details><summary>{_html(table.caption)}</summary>", "")
    else:
        yield from (f"**{_text(table.caption)}**", "")
    yield "| " + " | ".join(_text(table.columns[i].title) for i in shown) + " |"
    yield "|" + "|".join("---:" if table.columns[i].numeric else "---" for i in shown) + "|"
    for row in table.rows[:_MOST_ROWS]:
        yield "| " + " | ".join(_text(row[i].text) for i in shown) + " |"
    if len(table.rows) > _MOST_ROWS:
        yield from ("", f"{len(table.rows) - _MOST_ROWS:,} more rows in the HTML page.")
    yield ""
    if table.folded:
        yield from ("</details>", "")


def _text(text: str) -> str:
    """Returns text of the run that Markdown and HTML take as it is."""
    text = visible(" ".join(str(text).split()))
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return _SPECIAL.sub(lambda m: {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}.get(m[1], f"\\{m[1]}"), text)


def _html(text: str) -> str:
    import html

    return html.escape(visible(" ".join(text.split())))
