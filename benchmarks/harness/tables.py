"""The tables of README and docs, made of the files of results. `python -m benchmarks.harness.tables` writes them anew.

A table stands between `<!-- bench: CASE ... -->` and `<!-- /bench -->`; the case `headline` is the short table of all cases.
`benchmarks.harness.figures` finds figures that have no file of results.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness.figures import figures_by_hand
from benchmarks.harness.table_kinds import tables_of
from cluster.benchmarking.result_files import load

__all__ = ["PAGES", "RESULTS", "pages_of_words", "rendered", "stale"]

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("README.md", "docs/benchmarks.md", "docs/performance.md")
_MARKED = re.compile(r"(<!-- bench: (?P<cases>[\w ]+) -->\n)(?P<table>.*?)(<!-- /bench -->)", re.DOTALL)


def rendered(text: str, results: Path = RESULTS) -> str:
    """Returns a page with the tables between its markers as the files of results have them."""
    return _MARKED.sub(lambda found: found[1] + _tables(found["cases"].split(), results) + found[4], text)


def stale(root: Path = ROOT) -> list[str]:
    """Returns the pages whose tables are not those of the files of results."""
    pages = {name: (root / name).read_text() for name in PAGES if (root / name).exists()}
    return [name for name, text in pages.items() if rendered(text) != text]


def pages_of_words(root: Path = ROOT) -> list[Path]:
    """Returns the pages on which no figure may be typed by hand: README, the documents, and the pages beside README."""
    beside = [root / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [path for path in [*beside, *sorted((root / "docs").rglob("*.md"))] if path.exists()]


def _tables(cases: list[str], results: Path) -> str:
    parts = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        entries, machine = _entries(folder, cases)
        parts += tables_of(entries, machine, short=cases == ["headline"])
    return "\n".join(parts) if parts else "No results are recorded yet.\n"


def _entries(folder: Path, cases: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    found, machine = [], {}
    for path in sorted(folder.glob("*.json"), key=lambda path: cases.index(path.stem) if path.stem in cases else -1):
        if cases != ["headline"] and path.stem not in cases:
            continue
        content = load(path)
        machine = content["machine_info"]
        found += content["benchmarks"]
    if cases == ["headline"]:
        found = [entry for entry in found if entry["extra_info"].get("headline")]
    return found, machine


def main() -> int:
    """Writes the tables of every page; ends with 1 where a figure of a page is typed by hand."""
    wrong = 0
    for name in PAGES:
        path = ROOT / name
        if path.exists():
            path.write_text(rendered(path.read_text()))
    for path in pages_of_words():
        for line in figures_by_hand(path.read_text()):
            wrong = 1
            print(f"{path.relative_to(ROOT)}:{line}: a figure outside of the tables; record it, or leave it out")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
