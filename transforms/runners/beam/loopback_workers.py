"""Workers of a pipeline in this very process, started by its runner over a port that only this machine and user may use.

Beam's own port of this kind ("LOOPBACK") listens on all interfaces and asks nobody who he is; whoever reaches it has this process
fetch functions from an address of his choice and call them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PortableOptions, WorkerOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2_grpc
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.transforms.environments import ExternalEnvironment

from transforms.runners.beam.connections import user_of_connection

__all__ = ["LoopbackWorkers", "OwnWorkerPool", "start_worker_pool"]

_HOST = "127.0.0.1"
_THREADS = 4  # of requests to start and stop workers, which do no more than that


class OwnWorkerPool(BeamFnExternalWorkerPoolServicer):  # type: ignore[misc]  # Beam has no types
    """Beam's worker pool, for requests of this user and of root alone."""

    port = 0

    def StartWorker(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Starts a worker in this process."""
        self._check(context)
        return super().StartWorker(request, context)

    def StopWorker(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Stops a worker."""
        self._check(context)
        return super().StopWorker(request, context)

    def _check(self, context: grpc.ServicerContext) -> None:
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
            address, server = start_worker_pool(options)
            stops.append(functools.partial(server.stop, 1))
            placed = PortableOptions(environment_type="EXTERNAL", environment_config=address)
            external = ExternalEnvironment.from_options(placed).to_runner_api(None)
            environment.urn, environment.payload = external.urn, external.payload
        return stops


def start_worker_pool(options: PipelineOptions) -> tuple[str, grpc.Server]:
    """Returns the address of a new pool for the workers of a pipeline, and its server.

    Args:
        options: of the pipeline.
    """
    pool = OwnWorkerPool(
        use_process=bool(options.view_as(DebugOptions).lookup_experiment("use_loopback_process_worker", False)),
        state_cache_size=options.view_as(WorkerOptions).max_cache_memory_usage_mb << 20,
    )
    pings = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=pings)
    pool.port = server.add_insecure_port(f"{_HOST}:0")
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.start()
    return f"{_HOST}:{pool.port}", server
