"""What the benchmarks note of the machine: the hook of the plugin that users have. A failed benchmark takes no others with it."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.benchmarking.machine import circumstances
from cluster.benchmarking.plugin import pytest_benchmark_update_machine_info

__all__ = ["pytest_benchmark_generate_json", "pytest_benchmark_update_machine_info"]


@pytest.hookimpl(tryfirst=True)
def pytest_benchmark_generate_json(benchmarks: list[Any]) -> None:
    """Leaves out what failed before its first round: pytest-benchmark takes the least of no figures and writes nothing at all.

    A benchmark that noted no date, load and version of the code gets those of the end of the run.
    """
    benchmarks[:] = [each for each in benchmarks if each.stats.data]
    for each in benchmarks:
        each.extra_info = {**circumstances(), **each.extra_info}
