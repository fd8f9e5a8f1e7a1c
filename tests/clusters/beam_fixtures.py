"""Flink and Spark for tests: clusters that live as long as the session, and embedded ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Dataset

__all__ = ["embedded_flink", "embedded_spark", "flink_cluster", "local", "rows", "scored", "spark_cluster"]


def _or_skip(build: Callable[[], Any]) -> Any:
    try:
        return build()
    except (RuntimeError, OSError) as error:
        print(f"no cluster here: {error}")
        pytest.skip(f"no cluster here: {error}")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Seeded rows for passes."""
    from tests.clusters import beam_passes

    return Dataset.open(str(beam_passes.write_rows(tmp_path_factory.mktemp("rows")) / "*.parquet"))


@pytest.fixture(scope="session")
def local(rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The transform graph that this machine makes of them."""
    from tests.clusters import beam_passes
    from transforms import analyze

    graph = tmp_path_factory.mktemp("local") / "graph"
    analyze(rows, beam_passes.preprocessing_fn, str(graph))
    return graph


@pytest.fixture(scope="session")
def scored(rows: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model, with what this machine finds of it over these rows."""
    from tests.clusters.beam_models import Scored

    return Scored(rows, tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="session")
def flink_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A standalone Flink with two slots."""
    from tests.support.servers.flink import FlinkCluster

    cluster = _or_skip(lambda: FlinkCluster(tmp_path_factory.mktemp("flink"), slots=2))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A standalone Spark with two cores."""
    from tests.support.servers.spark import SparkCluster

    cluster = _or_skip(lambda: SparkCluster(tmp_path_factory.mktemp("spark"), cores=2))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def embedded_flink() -> list[str]:
    """Options of a Flink inside the job server."""
    from tests.support.servers.beam_jars import flink_job_server_jar

    return [f"--flink_job_server_jar={_or_skip(flink_job_server_jar)}"]


@pytest.fixture(scope="session")
def embedded_spark(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a Spark inside the job server."""
    from tests.support.servers.spark import embedded_spark_jar

    directory = tmp_path_factory.mktemp("embedded-spark")
    return [f"--spark_job_server_jar={_or_skip(lambda: embedded_spark_jar(directory))}"]
