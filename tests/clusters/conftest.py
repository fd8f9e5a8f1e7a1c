"""Fixtures of the cluster tests, and the rule that none of them may vanish quietly.

A cluster that cannot be built here (no network, no root) is skipped with its reason. Where CI=true that must not pass for
success: a test file of which everything was skipped then fails the run.
"""

from __future__ import annotations

import collections
import os

import pytest

from tests.clusters.beam_fixtures import *  # noqa: F403
from tests.clusters.beam_fixtures import __all__ as _beam_fixtures
from tests.clusters.kubernetes_fixtures import fullpass_namespace, kube, kubernetes_jobs
from tests.clusters.ray_fixtures import ray_launcher, ray_nodes

__all__ = [*_beam_fixtures, "fullpass_namespace", "kube", "kubernetes_jobs", "ray_launcher", "ray_nodes"]

_outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Counts the outcomes of each file."""
    if report.when == "call" or report.outcome != "passed":
        _outcomes[report.nodeid.partition("::")[0]]["skipped" if report.skipped else "ran"] += 1


def skipped_suites(outcomes: dict[str, collections.Counter[str]]) -> list[str]:
    """Returns the test files of which every test was skipped."""
    return sorted(path for path, counts in outcomes.items() if counts["skipped"] and not counts["ran"])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fails the run where CI=true and a whole file was skipped."""
    if os.environ.get("CI", "").lower() in ("true", "1") and skipped_suites(_outcomes) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the files that were skipped whole."""
    for path in skipped_suites(_outcomes):
        terminalreporter.write_line(f"SKIPPED WHOLE: {path} (reasons above; an error where CI=true)", red=True)
