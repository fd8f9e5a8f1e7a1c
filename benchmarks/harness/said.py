"""What a run of benchmarks says: one line for each when it ends, and at the end of the run what was not measured, and why.

Whatever else the cases and their peers write is pytest's to hold back, and to show where a benchmark fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from benchmarks.harness.table_kinds import number_text, spread_text
from benchmarks.peers.environments import is_made
from benchmarks.peers.registry import PEERS
from cluster.benchmarking.machine import version_of
from cluster.benchmarking.result_files import case_of
from cluster.benchmarking.results import plain_name

__all__ = ["line_of", "peers_left_out", "seconds_by_case", "summary"]

_LINE = "fullpass line"  # of a report's user_properties, which pytest-xdist carries too


def line_of(name: str, extra: dict[str, Any]) -> str:
    """Returns what is said of a benchmark that has ended, without its case and seconds.

    Args:
        name: of the benchmark.
        extra: what it noted.
    """
    parts = []
    plain = plain_name(name)
    if "ratio" in extra:
        figures = f"{spread_text(extra['cpu_ratio'])} x of processor time, {spread_text(extra['ratio'])} x on the clock"
        parts.append(f"{extra['what']} / {extra['peer'].replace('`', '')}: {figures}, {extra['pairs']} pairs")
    if "slope_cpu_us" in extra:
        fixed, slope = number_text(1e3 * extra["fixed_cpu_s"]), number_text(extra["slope_cpu_us"])
        parts.append(f"{plain}: {fixed} ms + {slope} µs a {extra['unit']}, of processor time")
    if "accelerators_ours" in extra:
        ours, peer = (number_text(extra[f"accelerators_{side}_a_core"]) for side in ("ours", "peer"))
        parts.append(f"a core keeps {ours} simulated accelerators busy, the peer's {peer}")
    if "ladder" in extra:
        ladder = extra["ladder"]
        kinds = (
            f"{kind} {', '.join(number_text(each[0]) for each in found)}"
            for kind, found in ladder["efficiency"].items()
        )
        cores = ", ".join(map(str, ladder["cores"]))
        parts.append(
            f"{'' if parts else ladder['what'] + ': '}of the copies' rate on {cores} cores: {'; '.join(kinds)}"
        )
    if not parts:
        noted = (f"{key.replace('_', ' ')} {value}" for key, value in extra.items() if isinstance(value, int | float))
        parts.append(f"{plain}: {', '.join(noted) or 'done'}")
    return "; ".join(parts)


def marked(report: pytest.TestReport, item: pytest.Item) -> None:
    """Adds the line of a benchmark that passed to its report."""
    benchmark = getattr(item, "funcargs", {}).get("benchmark")
    if report.when == "call" and report.passed and benchmark is not None:
        line = line_of(benchmark.name, benchmark.extra_info)
        case = case_of({"fullname": item.nodeid})
        report.user_properties.append((_LINE, f"{case:<10} {line}  [{report.duration:.0f} s]"))


def said_of(report: Any) -> str | None:
    """Returns the line that `marked` added."""
    return next((value for name, value in getattr(report, "user_properties", ()) if name == _LINE), None)


def seconds_by_case(reports: Sequence[Any]) -> dict[str, float]:
    """Returns the seconds of each case, set-up of its benchmarks included, the longest first."""
    total: dict[str, float] = {}
    for report in reports:
        if hasattr(report, "duration"):
            case = case_of({"fullname": report.nodeid})
            total[case] = total.get(case, 0.0) + report.duration
    return dict(sorted(total.items(), key=lambda each: -each[1]))


def peers_left_out() -> Iterator[str]:
    """Yields a line for each peer that cannot be measured here: with its reason, or because it is not installed."""
    for name, peer in PEERS.items():
        if peer.reason:
            yield f"peer {name}: {peer.reason}"
        elif peer.apart:
            if not is_made(name):
                yield f"peer {name}: its own environment is not made (python -m benchmarks.peers.environments {name})"
        elif version_of(peer.package) is None:
            yield f"peer {name}: not installed (pip install {peer.package})"


def summary(stats: dict[str, list[Any]], total_s: float) -> Iterator[str]:
    """Yields the lines at the end of a run.

    Args:
        stats: the terminal reporter's.
        total_s: of the run.
    """
    reports = [report for kind in ("passed", "failed", "error", "skipped", "") for report in stats.get(kind, [])]
    measured = sum(said_of(report) is not None for report in stats.get("passed", []))
    longest = ", ".join(f"{case} {seconds:.0f} s" for case, seconds in seconds_by_case(reports).items() if seconds >= 1)
    yield f"{measured} benchmarks measured in {total_s / 60:.1f} minutes{': ' + longest if longest else ''}"
    for kind in ("failed", "error"):
        for report in stats.get(kind, []):
            yield f"FAILED {_short(report)}"
    for report in stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        yield f"skipped {_short(report)}: {reason.removeprefix('Skipped: ')}"
    left_out = [item.name for item in stats.get("deselected", []) if item.get_closest_marker("full")]
    if left_out:
        yield f"{len(left_out)} long ones run with --full alone: {', '.join(left_out)}"
    yield from peers_left_out()


def _short(report: Any) -> str:
    return str(report.nodeid).rpartition("/")[2]
