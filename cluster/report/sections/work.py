"""Sections of the work itself: rows and seconds of each step, what each was made from, where a version comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.report.charts import bars
from cluster.report.model import Block, Cell, Column, Section, Table, number
from cluster.report.runs import Run
from engine.core.errors import FullpassError
from engine.machine import clock

__all__ = ["data_counts", "lineage_section", "seconds", "settings_section", "time_section"]

_NOTED = ("ingest", "transform", "analyze")


def data_counts(runs: Sequence[Run]) -> list[Any]:
    """Returns the counts of each step: rows in = rows out + rows set aside, by reason."""
    several = len(runs) > 1
    columns = [Column("step"), *([Column("run")] if several else [])]
    columns += [Column(t, numeric=True) for t in ("rows in", "rows out", "set aside")]
    columns.append(Column("why, and what it says"))
    rows = []
    for name in _steps(runs):
        for run in runs:
            if name not in run.steps:
                continue
            record = run.steps[name].record
            reasons = [f"{count:,} {reason}" for reason, count in record.set_aside.items()]
            notes = [note for note in record.notes if note] if name in _NOTED else []
            counts = [number(record.rows_in), number(record.rows_out), number(sum(record.set_aside.values()))]
            rows.append([Cell(name), *([Cell(run.name)] if several else []), *counts, Cell("; ".join(reasons + notes))])
    if not rows:
        return []
    return [Table(caption="Rows of each step: in = out + set aside", columns=columns, rows=rows)]


def _steps(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.steps))


def time_section(runs: Sequence[Run]) -> Section:
    """Returns where the time went."""
    values, rows, several = [], [], len(runs) > 1
    for name in _steps(runs):
        for run in runs:
            if name not in run.steps:
                continue
            record = run.steps[name].record
            values.append({"name": name, "x": record.seconds, "s": run.name})
            rate = record.rows_in / record.seconds if record.seconds and record.rows_in else None
            size = sum(record.files.values())
            cells = [
                Cell(f"{record.seconds:,.1f}", record.seconds),
                number(rate and round(rate)),
                Cell(_bytes(size), size),
                Cell(clock.shown(record.finished_at)),
            ]
            rows.append([Cell(name), *([Cell(run.name)] if several else []), *cells])
    if not rows:
        return Section(name="time", title="Where the time went", missing=("No step is finished yet.",))
    columns = [Column("step"), *([Column("run")] if several else [])]
    columns += [Column(t, numeric=True) for t in ("seconds", "rows a second", "written")] + [Column("finished")]
    table = Table(caption="Time of each step, when it last ran", columns=columns, rows=rows)
    return Section(
        name="time", title="Where the time went", blocks=[bars("Seconds of each step", values, "seconds"), table]
    )


def _bytes(size: int) -> str:
    from rich.filesize import decimal

    return decimal(size)


def settings_section(runs: Sequence[Run]) -> Section:
    """Returns settings, versions and inputs; with several runs those that differ first."""
    parts = [{k: v for f in run.steps.values() for k, v in f.record.parts.items()} for run in runs]
    names = list(dict.fromkeys(name for each in parts for name in each if not name.startswith("step ")))
    differ = [name for name in names if len({each.get(name) for each in parts}) > 1]
    columns = [Column("setting"), *(Column(run.name if len(runs) > 1 else "value") for run in runs)]

    def rows(which: list[str]) -> list[list[Cell]]:
        return [[Cell(name), *(Cell(each.get(name, "–")) for each in parts)] for name in which]

    blocks: list[Any] = []
    if len(runs) > 1:
        if differ:
            blocks.append(Table(caption="What differs between the runs", columns=columns, rows=rows(differ)))
        else:
            blocks.append(Block(kind="text", lines=("All settings, code, inputs and versions are the same.",)))
    if not any(run.steps for run in runs):
        return Section(name="settings", title="Settings", missing=("No step is finished yet.",))
    every = Table(caption="All settings, code, inputs and versions", columns=columns, rows=rows(names), folded=True)
    return Section(name="settings", title="Settings", blocks=[*blocks, every])


def lineage_section(runs: Sequence[Run]) -> Section:
    """Returns where each run's version comes from, link by link, and whether each still holds."""
    blocks: list[Any] = []
    for run in runs:
        if len(runs) > 1:
            blocks.append(Block(kind="text", lines=(f"{run.name}:",)))
        blocks.append(Block(kind="chain", lines=_chain(run)))
        table = _links(run)
        if table is not None:
            blocks.append(table)
    return Section(name="lineage", title="Lineage: from data to version", blocks=blocks)


def _chain(run: Run) -> list[tuple[str, str, str]]:
    """Returns what follows from what, as (name, what it says, remark)."""
    inputs = {
        part.removeprefix("input "): value
        for finished in run.steps.values()
        for part, value in finished.record.parts.items()
        if part.startswith("input ")
    }
    chain = [("data", ", ".join(f"{name} {value[:12]}" for name, value in inputs.items()), "")] if inputs else []
    for name, finished in run.steps.items():
        remark = "made from earlier results: a step before it ran again since" if name in run.earlier else ""
        chain.append((name, finished.directory.name, remark))
    if run.unfinished is not None and run.unfinished.directory is not None:
        chain.append((run.unfinished.step, run.unfinished.directory.name, "not finished"))
    version = run.info("push").get("version")
    if version:
        chain.append(("version", str(version), ""))
    elif run.output("export", "model") is not None:
        chain.append(("version", str(run.output("export", "model")), "not pushed"))
    return chain


def _links(run: Run) -> Table | None:
    """Returns the links of the exported version, held against its files, its graph and its training data."""
    from trainers.serving.lineage import lineage

    model = run.output("export", "model")
    if model is None:
        return None
    try:
        links = lineage(model, data=run.output("transform", "train"), transform_graph=run.output("analyze", "graph"))
    except FullpassError as error:
        return Table(
            caption="Lineage of the exported version",
            columns=[Column("link"), Column("holds"), Column("why")],
            rows=[[Cell("chain"), Cell("cannot be read", flag="bad"), Cell(str(error))]],
        )
    words = {True: Cell("holds", flag="good"), False: Cell("BROKEN", flag="bad"), None: Cell("not checked")}
    rows = [[Cell(link.name), words[link.holds], Cell(link.says), Cell(link.why)] for link in links]
    columns = [Column("link"), Column("holds"), Column("says"), Column("why")]
    return Table(
        caption="Lineage of the exported version, checked when this page was written", columns=columns, rows=rows
    )


def seconds(runs: Sequence[Run]) -> str:
    """Returns the seconds of all steps, run by run."""
    return ", ".join(f"{sum(f.record.seconds for f in run.steps.values()):,.1f} s" for run in runs)
