"""Two results of the same benchmark: like with like alone, and slower only where the spreads do not touch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, cast

__all__ = ["Change", "compare", "lines_of"]

# What must be equal for two figures to say something about the code.
_MACHINE = ("cpu", "cpu_family_model_stepping", "cores", "gpus")
_ENTRY = ("peer", "peer_version", "data_digest", "records", "cache")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A benchmark in two results.

    Attributes:
        name: of the benchmark.
        before, after: the ratio to the peer of processor time: (median, least, greatest); None where it is not comparable.
        reason: why it is not comparable; empty where it is.
    """

    name: str
    before: tuple[float, float, float] | None
    after: tuple[float, float, float] | None
    reason: str = ""

    @property
    def slower(self) -> bool:
        """Whether the greatest ratio now is below the least one before."""
        return self.before is not None and self.after is not None and self.after[2] < self.before[1]

    @property
    def faster(self) -> bool:
        """Whether the least ratio now is above the greatest one before."""
        return self.before is not None and self.after is not None and self.after[1] > self.before[2]


def compare(
    before: Iterable[tuple[dict[str, Any], dict[str, Any]]], after: Iterable[tuple[dict[str, Any], dict[str, Any]]]
) -> list[Change]:
    """Returns a change for each benchmark of `after`.

    Args:
        before: (machine_info, entry) of the earlier results, as `results_of` gives them. Of several of one benchmark, such as of several
            machines in one directory, the newest that is like the new one counts.
        after: of the new ones.
    """
    old: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for found in before:
        old.setdefault(found[1]["fullname"], []).append(found)
    changes = []
    for new in after:
        name = new[1]["fullname"].split("::")[-1]
        earlier = sorted(old.get(new[1]["fullname"], []), key=_date)
        reasons = [_difference(each, new) for each in earlier]
        if "" in reasons:
            newest = max(index for index, reason in enumerate(reasons) if not reason)
            changes.append(Change(name=name, before=_ratio(earlier[newest][1]), after=_ratio(new[1])))
        else:
            reason = reasons[-1] if reasons else "not in the earlier results"
            changes.append(Change(name=name, before=None, after=None, reason=reason))
    return changes


def _date(found: tuple[dict[str, Any], dict[str, Any]]) -> str:
    extra = found[1].get("extra_info")
    return str(extra.get("date", "")) if isinstance(extra, dict) else ""


def lines_of(changes: list[Change]) -> list[str]:
    """Returns the lines that tell of changes: slower ones first, then faster, unchanged, not comparable."""
    rank = {"SLOWER": 0, "faster": 1, "as before": 2, "not compared": 3}
    lines = []
    for change in changes:
        word = "not compared" if change.reason else "SLOWER" if change.slower else "faster" if change.faster else None
        word = word or "as before"
        figures = change.reason
        if change.before is not None and change.after is not None:
            figures = f"{_text(change.before)} -> {_text(change.after)} x the peer, processor time"
        lines.append((rank[word], f"{word:<12} {change.name}: {figures}"))
    return [line for _, line in sorted(lines)]


def _difference(old: tuple[dict[str, Any], dict[str, Any]], new: tuple[dict[str, Any], dict[str, Any]]) -> str:
    machines = [
        machine["fullpass"] if isinstance(machine.get("fullpass"), dict) else machine for machine, _ in (old, new)
    ]
    for key in _MACHINE:
        if machines[0].get(key) != machines[1].get(key):
            return f"another machine: {key} {machines[0].get(key)} then, {machines[1].get(key)} now"
    extras = [entry.get("extra_info", {}) for _, entry in (old, new)]
    if any("cpu_ratio" not in extra for extra in extras):
        return "it has no peer"
    for key in _ENTRY:
        if extras[0].get(key) != extras[1].get(key):
            return f"not alike: {key} {extras[0].get(key)} then, {extras[1].get(key)} now"
    for (_, entry), when in ((old, "then"), (new, "now")):
        if _ratio(entry) is None:
            return f"its ratio {when} is not three numbers above 0: {entry['extra_info']['cpu_ratio']!r:.80}"
    return ""


def _ratio(entry: dict[str, Any]) -> tuple[float, float, float] | None:
    """Returns median, least and greatest; None where they are no numbers, of which NaN would pass for unchanged."""
    ratio = entry["extra_info"]["cpu_ratio"]
    if not isinstance(ratio, dict):
        return None
    median, least, greatest = ratio.get("median"), ratio.get("least"), ratio.get("greatest")
    for value in (median, least, greatest):
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            return None
    return cast("tuple[float, float, float]", (median, least, greatest))


def _text(ratio: tuple[float, float, float]) -> str:
    return f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
