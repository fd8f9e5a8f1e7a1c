"""What the benchmarks note of the machine."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Adds the cores, the load's owner and the libraries to pytest-benchmark's account of the machine."""
    from cluster.benchmarking.machine import machine_info as ours

    machine_info["fullpass"] = ours()
