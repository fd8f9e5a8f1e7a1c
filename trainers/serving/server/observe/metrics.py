"""Counters and histograms of a server, for Prometheus; added up over the processes of one server."""

from __future__ import annotations

import logging
import os
from typing import Any

__all__ = ["Metrics", "forget_process", "multiprocess_directory"]

_LOG = logging.getLogger(__name__)
_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own variable: read when it is imported
_LATENCIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def multiprocess_directory(environment: dict[str, str], directory: str) -> dict[str, str]:
    """Returns an environment in which processes add their counts up in a directory."""
    return {**environment, _DIRECTORY: directory}


def forget_process(process: int, directory: str) -> None:
    """Takes what a process that has ended was doing out of the sums of a directory; what it did stays counted.

    Rows that waited in it would be in the sum for ever, and an autoscaler would go by them.
    """
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(process, directory)  # type: ignore[no-untyped-call]


class Metrics:
    """What a process counts."""

    def __init__(self) -> None:
        import prometheus_client as prometheus

        self._prometheus = prometheus
        self._requests = prometheus.Counter(
            "fullpass_serving_requests_total", "requests by model and status", ["model", "status"]
        )
        self._rows = prometheus.Counter("fullpass_serving_rows_total", "rows answered by model", ["model"])
        self._latency = prometheus.Histogram(
            "fullpass_serving_latency_seconds",
            "time from a request's arrival to its answer",
            ["model"],
            buckets=_LATENCIES,
        )
        self._batch_rows = prometheus.Histogram(
            "fullpass_serving_batch_rows", "rows of the batches that were run", buckets=[2**n for n in range(13)]
        )
        self._queued_rows = prometheus.Gauge(
            "fullpass_serving_queued_rows",
            "rows that waited when the last batch was closed",
            multiprocess_mode="livesum",
        )
        self._left_out = prometheus.Counter(
            "fullpass_serving_unrecorded_total",
            "requests chosen for the record that were not written",
        )
        self._versions = prometheus.Gauge(
            "fullpass_serving_version_loaded", "1 for a version that is served", ["model", "version"],
            multiprocess_mode="mostrecent",
        )  # fmt: skip

    def count(self, model: str, status: str, rows: int) -> None:
        """Counts an answered or refused request."""
        self._requests.labels(model, status).inc()
        if rows:
            self._rows.labels(model).inc(rows)

    def observe_latency(self, model: str, seconds: float) -> None:
        """Notes how long a request took."""
        self._latency.labels(model).observe(seconds)

    def observe_batch(self, rows: int, queued_rows: int) -> None:
        """Notes a batch that is run, and how many rows wait behind it."""
        self._batch_rows.observe(rows)
        self._queued_rows.set(queued_rows)

    def count_left_out(self, requests: int) -> None:
        """Counts requests that were not recorded."""
        self._left_out.inc(requests)

    def set_version(self, model: str, number: int, loaded: bool) -> None:
        """Notes a version that was loaded or let go."""
        self._versions.labels(model, str(number)).set(1 if loaded else 0)

    def warn(self, text: str) -> None:
        """Logs what went wrong beside the requests."""
        _LOG.warning("%s", text)

    def text(self) -> tuple[bytes, str]:
        """Returns the exposition and its content type, of all processes of the server."""
        registry: Any = self._prometheus.REGISTRY
        if os.environ.get(_DIRECTORY):
            from prometheus_client import multiprocess

            registry = self._prometheus.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return self._prometheus.generate_latest(registry), self._prometheus.CONTENT_TYPE_LATEST
