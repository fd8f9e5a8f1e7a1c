"""Flink and Spark for tests: clusters that live as long as the session, and embedded ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

__all__ = ["embedded_flink", "embedded_spark", "flink_cluster", "spark_cluster"]


def _or_skip(build: Callable[[], Any]) -> Any:
    try:
        return build()
    except (RuntimeError, OSError) as error:
        print(f"no cluster here: {error}")
        pytest.skip(f"no cluster here: {error}")


@pytest.fixture(scope="session")
def flink_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A standalone Flink with two slots."""
    from tests.servers.flink import FlinkCluster

    cluster = _or_skip(lambda: FlinkCluster(tmp_path_factory.mktemp("flink"), slots=2))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A standalone Spark with two cores."""
    from tests.servers.spark import SparkCluster

    cluster = _or_skip(lambda: SparkCluster(tmp_path_factory.mktemp("spark"), cores=2))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def embedded_flink() -> list[str]:
    """Options of a Flink inside the job server."""
    from tests.servers.beam_jars import flink_job_server_jar

    return [f"--flink_job_server_jar={_or_skip(flink_job_server_jar)}"]


@pytest.fixture(scope="session")
def embedded_spark(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a Spark inside the job server."""
    from tests.servers.spark import embedded_spark_jar

    directory = tmp_path_factory.mktemp("embedded-spark")
    return [f"--spark_job_server_jar={_or_skip(lambda: embedded_spark_jar(directory))}"]
