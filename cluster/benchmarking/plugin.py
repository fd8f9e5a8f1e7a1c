"""Fixtures for benchmarks of your own data and module, on pytest-benchmark.

In conftest.py::

    pytest_plugins = ["cluster.benchmarking.plugin"]

and in a test::

    def test_read(fullpass_dataset, throughput):
        throughput(lambda: sum(b.num_rows for b in fullpass_dataset.read_batches()), dataset=fullpass_dataset)

`pytest --fullpass-data 'data/train/*.tfrecord.gz' --benchmark-json=now.json` measures; `fullpass bench suite --against` and
pytest-benchmark's own commands compare.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from cluster.benchmarking.machine import circumstances
from cluster.benchmarking.machine import machine_info as describe
from cluster.benchmarking.pairs import PairedResult, paired
from cluster.benchmarking.results import note, record_pair
from engine.core.errors import ConfigError

if TYPE_CHECKING:
    from engine.dataset.dataset import Dataset

__all__ = [
    "fullpass_dataset",
    "pytest_addoption",
    "pytest_benchmark_generate_json",
    "pytest_benchmark_update_machine_info",
    "throughput",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--fullpass-data`."""
    group = parser.getgroup("fullpass")
    group.addoption(
        "--fullpass-data",
        action="append",
        default=[],
        metavar="PATH",
        help="files, a glob or a directory that the fixture fullpass_dataset opens; may be given again",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Adds the cores and the libraries to pytest-benchmark's account of the machine."""
    machine_info["fullpass"] = describe()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_generate_json(benchmarks: list[Any]) -> None:
    """Leaves out what failed before its first round: pytest-benchmark takes the least of no figures and writes nothing at all.

    A benchmark that noted no date, load and version of the code gets those of the end of the run.
    """
    benchmarks[:] = [each for each in benchmarks if each.stats.data]
    for each in benchmarks:
        each.extra_info = {**circumstances(), **each.extra_info}


@pytest.fixture(scope="session")
def fullpass_dataset(request: pytest.FixtureRequest) -> Dataset:
    """The `engine.Dataset` of `--fullpass-data`; a test that asks for it is skipped without."""
    from engine import Dataset

    paths = request.config.getoption("--fullpass-data")
    if not paths:
        pytest.skip("--fullpass-data PATH says which data to measure")
    return Dataset.open(paths if len(paths) > 1 else paths[0])


@pytest.fixture
def throughput(benchmark: Any) -> Callable[..., PairedResult | None]:
    """A function that measures an action and notes records and bytes a second in `extra_info`.

    It takes the action, a function without arguments that may return how many records it saw, which must then be `records`; `records`, or
    `dataset`, whose records and files count; and with `peer`, a function that does the same work another way, the ratio over `rounds`
    interleaved pairs, under the name `peer_name`. It returns the pairs, or None without a peer or where
    benchmarks are disabled, and each runs only to be checked. It measures once: a test is a line of the results.
    """
    measured = False

    def measure(
        action: Callable[[], Any],
        *,
        records: int | None = None,
        dataset: Dataset | None = None,
        peer: Callable[[], Any] | None = None,
        peer_name: str = "peer",
        rounds: int = 5,
    ) -> PairedResult | None:
        nonlocal measured
        if measured:
            raise ConfigError("throughput: this test has measured already; give each measurement a test of its own")
        measured = True
        count = records if records is not None else dataset.num_records if dataset is not None else None
        if rounds < 1 or (count is not None and count < 0):
            raise ConfigError(f"rounds={rounds}, records={count}: at least 1 round and 0 records")
        files = [path for path in dataset.paths if "://" not in path] if dataset is not None else []
        for each in (action, *([peer] if peer else [])):
            seen = each()  # also warms up
            # NumPy's and Arrow's whole numbers are no int.
            whole = seen.as_py() if hasattr(seen, "as_py") else seen
            if isinstance(whole, numbers.Integral) and not isinstance(whole, bool) and count is not None:
                assert whole == count, f"{whole:,} records were seen, not {count:,}: it is not the same work"
        if (
            benchmark.disabled
        ):  # --benchmark-disable, and pytest-benchmark itself in a process of xdist: the work was checked
            benchmark.pedantic(action, rounds=1)
            return None
        if peer is None:
            benchmark.pedantic(action, rounds=rounds)
            note(benchmark, {}, records=count, seconds=benchmark.stats["median"], paths=files)
            return None
        result = paired(action, peer, rounds, warm_up=False)
        benchmark.pedantic(action, rounds=1)
        record_pair(benchmark, result, peer_name, count, paths=files)
        return result

    return measure
