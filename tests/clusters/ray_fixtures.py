"""Fixtures of the Ray tests: a cluster of two raylets for each file, a launcher whose jobs are gone after each test."""

from __future__ import annotations

import pytest

from tests.support.servers.ray_cluster import two_raylets

__all__ = ["ray_launcher", "ray_nodes"]


@pytest.fixture(scope="module")
def ray_nodes():
    """Returns a Ray cluster of two nodes with four logical CPUs each."""
    with two_raylets(cpus_each=4) as cluster:
        yield cluster


@pytest.fixture
def ray_launcher(ray_nodes):
    """Returns a launcher that spreads members over both nodes."""
    from cluster.launchers import launcher

    place = launcher("ray", placement="SPREAD")
    yield place
    for job in place.list():
        place.cancel(job.name)
