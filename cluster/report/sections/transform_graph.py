"""The section of the transform: its vocabularies, and what the analyzers found: boundaries, moments, ranges."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from cluster.report.model import Cell, Column, Section, Table, number, shown
from cluster.report.runs import Run
from engine.core.errors import DataError
from engine.core.json_text import parse_json

__all__ = ["transform_section"]

_FIRST = 8  # words of a vocabulary that are shown
_LONGEST = 200  # bytes of a word
_MOST_BYTES = 1 << 26  # of a vocabulary that is counted to the end
_MOST_NUMBERS = 40


def transform_section(runs: Sequence[Run]) -> Section:
    """Returns the section of the transform."""
    graphs = [(run, graph) for run in runs if (graph := run.output("analyze", "graph")) is not None]
    if not graphs:
        return Section(name="transform", title="Transform", missing=("No transform graph: [analyze] makes one.",))
    several = len(runs) > 1
    head = [Column("run")] if several else []
    words, results = [], []
    for run, graph in graphs:
        mine = [Cell(run.name)] if several else []
        words += [[row[0], *mine, *row[1:]] for row in _vocabularies(graph)]
        results += [[row[0], *mine, *row[1:]] for row in _results(graph)]
    blocks: list[Any] = []
    if words:
        columns = [Column("vocabulary"), *head, Column("words", numeric=True), Column("size", numeric=True)]
        columns.append(Column("first words, the most frequent first"))
        blocks.append(Table(caption="Vocabularies", columns=columns, rows=words))
    missing: list[str] = []
    if results:
        columns = [Column("analyzer"), *head, Column("makes"), Column("numbers", numeric=True), Column("values")]
        columns.append(Column("line of your code"))
        blocks.append(
            Table(caption="What the analyzers found: boundaries, moments, ranges", columns=columns, rows=results)
        )
    missing += [
        f"{run.name}: no boundaries and moments: the graph has no `assets.extra/analyzer_results.json`; analyze again."
        for run, graph in graphs
        if not _results_file(graph).is_file()
    ]
    return Section(name="transform", title="Transform", blocks=blocks, missing=missing)


def _vocabularies(graph: Path) -> Iterator[list[Cell]]:
    assets = graph / "transform_fn" / "assets"
    for path in sorted(assets.iterdir()) if assets.is_dir() else []:
        size = path.stat().st_size
        if path.suffix in (".gz", ".tfrecord") or size == 0:
            yield [Cell(path.name), Cell("–"), number(size), Cell("compressed" if size else "empty")]
            continue
        with open(path, "rb") as file:
            head = list(itertools.islice(_line_heads(file), _FIRST))
            count = _count_lines(file) if size < _MOST_BYTES else None
        first = ", ".join(line.decode("utf-8", "backslashreplace") for line in head)
        yield [
            Cell(path.name),
            number(count),
            number(size),
            Cell(first + (", …" if count is None or count > _FIRST else "")),
        ]


def _line_heads(file: IO[bytes]) -> Iterator[bytes]:
    """Returns the beginning of each line to come, also of a last one without an end."""
    while line := file.readline(_LONGEST):
        head = line
        while not line.endswith(b"\n") and (line := file.readline(1 << 20)):
            pass
        yield head.rstrip(b"\r\n")


def _count_lines(file: IO[bytes]) -> int:
    file.seek(0)
    ends = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    file.seek(-1, os.SEEK_END)
    return ends + (file.read(1) != b"\n")


def _results_file(graph: Path) -> Path:
    return graph / "transform_fn" / "assets.extra" / "analyzer_results.json"


def _results(graph: Path) -> Iterator[list[Cell]]:
    path = _results_file(graph)
    if not path.is_file():
        return
    try:
        for entry in parse_json(path.read_text(encoding="utf-8"))["results"]:
            values = entry["values"]
            text = _numbers(str(entry["analyzer"]), values, entry["size"])
            makes = ", ".join(entry["outputs"][:6]) + (", …" if len(entry["outputs"]) > 6 else "")
            yield [Cell(entry["analyzer"]), Cell(makes), number(entry["size"]), Cell(text), Cell(entry.get("line", ""))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"is damaged ({type(error).__name__}: {error}); analyze again", path=str(path)) from None


def _numbers(analyzer: str, values: Sequence[Any], size: int) -> str:
    """Returns the numbers of an analyzer; those that TFT gives in pairs by their names."""
    kind = analyzer.rpartition("/")[2]
    if size == 2 and kind.startswith("mean_and_var"):
        return f"mean {shown(values[0])}, variance {shown(values[1])}"
    return ", ".join(shown(v) for v in values[:_MOST_NUMBERS]) + (", …" if size > _MOST_NUMBERS else "")
