"""What the benchmarks note of the machine and the run: the hooks of the plugin that users have."""

from __future__ import annotations

from cluster.benchmarking.plugin import pytest_benchmark_generate_json, pytest_benchmark_update_machine_info

__all__ = ["pytest_benchmark_generate_json", "pytest_benchmark_update_machine_info"]
