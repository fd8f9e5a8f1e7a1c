"""Results of benchmarks, from files in pytest-benchmark's format."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.report.model import Cell, Column, Section, Table, number
from engine.core.errors import ConfigError, DataError
from engine.core.json_text import parse_json

__all__ = ["AT", "HISTORY", "Measured", "figure", "machines", "read_results"]

HISTORY = "history"  # of extra_info: earlier ratios of the same benchmark, the oldest first
AT = re.compile(r"(.+)_at_(\d+)")  # examples_per_s_at_64: one point of a growth curve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One benchmark of one run.

    Attributes:
        case: the file's name, or the benchmark's group.
        name: of the benchmark, with its parameters.
        machine, commit, when: where, of which code and when it was measured.
        params: its parameters.
        stats: pytest-benchmark's, in seconds.
        extra: what the benchmark noted (`ratio`, `cpu_ratio`, `peer`, `what`, `pairs`, `records_per_s`, `stages`, ...).
    """

    case: str
    name: str
    machine: str
    commit: str
    when: str
    params: Mapping[str, Any]
    stats: Mapping[str, float]
    extra: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What was measured, and beside what."""
        what = str(self.extra.get("what") or self.name.removeprefix("test_").replace("_", " "))
        return f"{what} / {self.extra['peer']}".replace("`", "") if self.extra.get("peer") else what

    def spread(self, key: str) -> tuple[float, float, float] | None:
        """Returns median, least and greatest of a ratio, or None where it was not noted."""
        value = self.extra.get(key)
        found = [value.get(k) for k in ("median", "least", "greatest")] if isinstance(value, Mapping) else []
        if len(found) == 3 and all(isinstance(v, int | float) and math.isfinite(v) and v > 0 for v in found):
            return float(found[0]), float(found[1]), float(found[2])  # type: ignore[arg-type]
        return None

    @property
    def ratio(self) -> float:
        """The median ratio to the peer, of processor time where that was taken; 0 where none was noted."""
        return (self.spread("cpu_ratio") or self.spread("ratio") or (0.0,))[0]


def read_results(paths: Sequence[str | os.PathLike[str]]) -> list[Measured]:
    """Returns all benchmarks of the files.

    Raises:
        ConfigError: there is none in them.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.rglob("*.json")) if path.is_dir() else [path]
    found = [measured for file in files for measured in _read(file)]
    if not found:
        raise ConfigError(f"{', '.join(map(str, paths))}: no results; `pytest --benchmark-json FILE` writes them")
    return found


def _read(file: Path) -> Iterator[Measured]:
    try:
        stored = parse_json(file.read_text(encoding="utf-8"))
        machine, commit = _mapping(stored["machine_info"]), _mapping(stored.get("commit_info"))
        cpu = machine.get("cpu")
        cpu = cpu.get("brand_raw") if isinstance(cpu, Mapping) else cpu
        cores = machine.get("cores") or _mapping(machine.get("cpu")).get("count")
        gpus = machine.get("gpus")
        parts = (
            cpu or machine.get("machine") or "unknown",
            cores and f"{cores} cores",
            *(gpus if isinstance(gpus, list) else ()),
        )
        place = ", ".join(str(part) for part in parts if part)
        for entry in stored["benchmarks"]:
            extra = _mapping(entry.get("extra_info"))
            code = _mapping(extra.get("code"))
            now = Measured(
                case=str(entry.get("group") or file.stem),
                name=str(entry["name"]),
                machine=place,
                commit=str(code.get("commit") or commit.get("id") or "")[:7],
                when=str(extra.get("date") or stored["datetime"]),
                params=_mapping(entry.get("params")),
                stats={key: value for key, value in _mapping(entry["stats"]).items() if figure(value) is not None},
                extra=extra,
            )
            yield from _earlier(now)
            yield now
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; `pytest --benchmark-json FILE` writes results") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"is not in pytest-benchmark's format ({type(error).__name__}: {error})"
        raise DataError(f"{what}; `pytest --benchmark-json FILE` writes it", path=str(file)) from None


def _earlier(now: Measured) -> Iterator[Measured]:
    """Yields what the suite kept of a benchmark's earlier results."""
    history = now.extra.get(HISTORY)
    for each in history if isinstance(history, list) else []:
        if isinstance(each, Mapping) and each.get("date"):
            commit = str(_mapping(each.get("code")).get("commit") or "")[:7]
            extra = {"what": now.extra.get("what"), "peer": now.extra.get("peer"), **each}
            yield dataclasses.replace(now, commit=commit, when=str(each["date"]), stats={}, extra=extra)


def figure(value: Any) -> float | None:
    """Returns a number that can be shown; None for whatever else stands in its place."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def machines(found: Sequence[Measured]) -> Section:
    """Returns the section that says on which machines, of which commits and when the results were taken."""
    rows = []
    for machine in dict.fromkeys(m.machine for m in found):
        mine = [m for m in found if m.machine == machine]
        commits = dict.fromkeys(m.commit for m in mine if m.commit)
        dates = sorted(m.when[:10] for m in mine)
        rows.append([Cell(machine), number(len(mine)), Cell(", ".join(commits)), Cell(f"{dates[0]} to {dates[-1]}")])
    columns = [Column("machine"), Column("results", numeric=True), Column("commits"), Column("dates")]
    return Section(name="machines", title="Machines", blocks=[Table(caption="Machines", columns=columns, rows=rows)])
