"""Workers of a pipeline in this very process, started by its runner over a port that only this machine and user may use.

Beam's own port of this kind ("LOOPBACK") listens on all interfaces and asks nobody who he is; whoever reaches it has this process
fetch functions from an address of his choice and call them.
"""

from __future__ import annotations

import atexit
import copy
import functools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PortableOptions, WorkerOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer, kill_process_gracefully
from apache_beam.transforms.environments import ExternalEnvironment

from transforms.runners.beam.connections import user_of_connection, users_are_shown

__all__ = ["LoopbackWorkers", "OwnWorkerPool", "start_worker_pool"]

_HOST = "127.0.0.1"
_THREADS = 4  # of requests to start and stop workers, which do no more than that


class OwnWorkerPool(BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]  # Beam has no types
    """Beam's worker pool, for requests of this user and of root alone, where the system says whose they are."""

    port = 0
    asks = True  # decided once, before anybody can connect

    def StartWorker(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Starts a worker in this process."""
        self._check(context)
        return super().StartWorker(request, context)

    def StopWorker(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Stops a worker."""
        self._check(context)
        return super().StopWorker(request, context)

    def end_processes(self) -> None:
        """Ends the workers that are processes of their own."""
        for process in [*self._worker_processes.values()]:
            kill_process_gracefully(process)

    def _check(self, context: grpc.ServicerContext) -> None:
        if not self.asks:
            return
        kind, _, address = context.peer().partition(":")
        host, _, port = address.rpartition(":")
        if kind == "ipv4" and user_of_connection((host, int(port)), (_HOST, self.port)) in (os.getuid(), 0):
            return
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "workers of this process are for its own user")


class LoopbackWorkers(PortableRunner):  # type: ignore[misc]
    """A portable runner whose LOOPBACK workers nobody else may start; to be put before Beam's runner among the bases."""

    @staticmethod
    def start_and_replace_loopback_environments(pipeline: Any, options: PipelineOptions) -> list[Callable[[], Any]]:
        """Starts a pool for each LOOPBACK environment, writes its address into the pipeline, and returns what stops the pools."""
        stops: list[Callable[[], Any]] = []
        for environment in pipeline.components.environments.values():
            if environment.urn != python_urns.EMBEDDED_PYTHON_LOOPBACK:
                continue
            address, stop = start_worker_pool(options)
            stops.append(stop)
            placed = copy.deepcopy(options.view_as(PortableOptions))
            placed.environment_type, placed.environment_config = "EXTERNAL", address
            external = ExternalEnvironment.from_options(placed).to_runner_api(None)
            environment.urn, environment.payload = external.urn, external.payload
        return stops


def start_worker_pool(options: PipelineOptions) -> tuple[str, Callable[[], None]]:
    """Returns the address of a new pool for the workers of a pipeline, and what ends it and its workers.

    Args:
        options: of the pipeline.
    """
    debug = options.view_as(DebugOptions)
    cache_mb = options.view_as(WorkerOptions).max_cache_memory_usage_mb
    pool = OwnWorkerPool(
        use_process=bool(debug.lookup_experiment("use_loopback_process_worker", False)),
        # As Beam's own pool: the experiment, which is older, goes before the option.
        state_cache_size=int(debug.lookup_experiment("state_cache_size", cache_mb)) << 20,
        data_buffer_time_limit_ms=int(debug.lookup_experiment("data_buffer_time_limit_ms", 0)),
    )
    pool.asks = users_are_shown()
    if not pool.asks:
        _warn_once()
    pings = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=pings)
    pool.port = server.add_insecure_port(f"{_HOST}:0")
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.start()
    atexit.register(pool.end_processes)

    def stop() -> None:
        server.stop(1)
        pool.end_processes()
        atexit.unregister(pool.end_processes)

    return f"{_HOST}:{pool.port}", stop


@functools.cache
def _warn_once() -> None:
    print(
        "warning: other users of this machine may have Beam's workers in this process run their code: /proc/net/tcp, which says whose "
        "a connection is, cannot be read here; see docs/security.md",
        file=sys.stderr,
        flush=True,
    )
