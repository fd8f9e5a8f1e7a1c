"""What the benchmarks note of the machine and the run, and what a run says: the hooks of the plugin that users have, and our own."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import pytest

from benchmarks.harness.said import marked, said_of, summary
from cluster.benchmarking.plugin import pytest_benchmark_generate_json as with_circumstances
from cluster.benchmarking.plugin import pytest_benchmark_update_machine_info

__all__ = ["pytest_benchmark_generate_json", "pytest_benchmark_update_machine_info"]

_OURS = ("engine", "transforms", "trainers", "cluster", "benchmarks", "tests")


_BEGUN = pytest.StashKey[float]()
_FAILED = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Notes when the run began."""
    config.stash[_BEGUN], config.stash[_FAILED] = time.monotonic(), set()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_generate_json(config: pytest.Config, benchmarks: list[Any]) -> None:
    """Leaves out what failed: a figure whose result was found wrong is none."""
    benchmarks[:] = [each for each in benchmarks if each.fullname not in config.stash[_FAILED]]
    with_circumstances(benchmarks)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skips where pytest-xdist runs benchmarks side by side, of which no figure says anything."""
    if hasattr(item.config, "workerinput"):
        pytest.skip("benchmarks side by side take time from each other: run them without pytest-xdist's -n")
    return (yield from _skipping_missing_peers())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """Skips a benchmark whose peer is not installed."""
    return (yield from _skipping_missing_peers())


def _skipping_missing_peers() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if not name or name in _OURS:
            raise
        pytest.skip(f"{name} is not installed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what is said of the benchmark to its report."""
    report = yield
    marked(report, item)
    if report.failed:
        item.config.stash[_FAILED].add(item.nodeid)
    return report


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Says a benchmark's line in place of a dot, and of a skipped one nothing before the end."""
    if report.skipped:
        return "skipped", "", "SKIPPED"
    line = said_of(report) if report.when == "call" and report.passed else None
    return ("passed", f"{line}\n", f"PASSED {line}") if line else None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Says at the end how long each case took, what failed, what was skipped and which peers are not measured, and why."""
    terminalreporter.section("benchmarks")
    for line in summary(terminalreporter.stats, time.monotonic() - config.stash[_BEGUN]):
        terminalreporter.write_line(line)
