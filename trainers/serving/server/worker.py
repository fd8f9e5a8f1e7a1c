"""One process of a server: `python -m trainers.serving.server.worker CONFIG.json [--until-eof]`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.core.run_log import show_warnings
from engine.machine.ports import bound_socket
from engine.machine.quiet import import_tensorflow
from trainers.serving.server.config import ServeConfig

__all__ = ["UNTIL_EOF", "closed_first", "main", "most_files", "run_worker"]

UNTIL_EOF = "--until-eof"  # of standard input, a pipe of the process that started this one
_LEAST_STREAMS = 100
_SWITCH_S = 0.0005
_HIGH_FILE = 1 << 16  # the kernel's table of descriptors grows to the highest
_ROOM_ABOVE = 256  # for other servers of the process
_MOST_FILES = 1 << 20  # where the machine has no limit, or one that is none: containers say 1 << 30
_LOG = logging.getLogger("fullpass.serve")


def closed_first(listening: socket.socket) -> socket.socket:
    """Returns the socket under a descriptor above those of its connections.

    Of a process that is killed Linux closes the highest first. Below its connections, the socket would still take some of the clients
    whose connections are closed already and who connect again: their next requests would fail as well.
    """
    import fcntl  # not on Windows, where no process shares a port

    lowest = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _HIGH_FILE) - _ROOM_ABOVE
    if lowest <= listening.fileno():
        return listening
    with listening:
        return socket.socket(fileno=fcntl.fcntl(listening.fileno(), fcntl.F_DUPFD_CLOEXEC, lowest))


async def run_worker(
    config: ServeConfig, ready: Any = None, parent: int | None = None, folder: Path | None = None
) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is in flight and returns.

    Args:
        config: with ports that are not 0.
        ready: called with no arguments once requests are answered.
        parent: descriptor of a pipe whose other end is its starter's: when that has died, the process stops as on SIGTERM. Or it
            would share its ports with the next server there, and answer a part of the requests by another configuration.
        folder: of the server, where its processes agree on the models; None where this is the only one.
    """
    from trainers.serving.server.core import Core
    from trainers.serving.server.observe.metrics import Metrics

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if parent is not None:

        def orphaned() -> None:
            # Once: a pipe that has ended is there to be read at every turn, while a model loads as well.
            loop.remove_reader(parent)
            stop.set()

        loop.add_reader(parent, orphaned)
    shared = None
    if config.allow_reload and config.processes > 1 and folder is not None:
        from trainers.serving.server.group.shared_models import SharedModels

        shared = SharedModels(folder, config)
    core = Core(config, Metrics(), shared.first if shared is not None else None)
    # In a thread like the load: a signal meanwhile stops the server in order.
    await loop.run_in_executor(None, _prepare)
    await (loop.run_in_executor(None, shared.load, core) if shared else loop.run_in_executor(None, core.load))
    core.start_watching()
    reload = shared.reload if shared is not None else None
    grpc_server = await start_grpc(config, core, reload) if config.grpc_port is not None else None
    rest_server, rest_task = await start_rest(config, core) if config.rest_port is not None else (None, None)
    if ready is not None:
        ready()
    await stop.wait()
    if parent is not None:
        loop.remove_reader(parent)
    # New connections go to the other processes from now on; those in flight are answered.
    core.draining = True
    if shared is not None:
        shared.leave()
    stops = []
    if grpc_server is not None:
        stops.append(grpc_server.stop(config.drain_s))
    if rest_server is not None:
        rest_server.should_exit = True
        stops.append(rest_task)
    await asyncio.gather(core.drain(), *stops)


def _prepare() -> None:
    """Imports TensorFlow and makes the interpreter ready for a version that is loaded while requests flow.

    The garbage collector's look at all that TensorFlow and the libraries made at their import holds every request up for as long
    as it takes: what is there before the first model stays for good, and is looked at no more. A thread that loads a model gives
    the interpreter back to the event loop after `_SWITCH_S`; by Python's own 5 ms, each of the loop's many short turns would wait
    that long.
    """
    import_tensorflow()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_S)


async def start_grpc(config: ServeConfig, core: Any, reload: Any = None) -> Any:
    """Returns a server of gRPC that answers from the core; `reload` is what a client's list of models is given to."""
    import grpc
    from grpc_health.v1 import health, health_pb2

    from trainers.serving.server.doors.grpc_server import add_services
    from trainers.serving.server.doors.guards import TokenCheck, grpc_credentials

    limit = config.limits.request_bytes
    options = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_connection_idle_ms", config.limits.idle_s * 1000),
        # No call outlives these two together, not one whose client reads no answer, nor a watch of health. Other clients see none of
        # it: told to go, they begin their next call on another connection.
        ("grpc.max_connection_age_ms", config.limits.connection_s * 1000),
        ("grpc.max_connection_age_grace_ms", config.limits.leave_s * 1000),
        # Or a client that is gone without a word, with its network, would keep its connection for two hours.
        ("grpc.keepalive_time_ms", config.limits.idle_s * 1000),
        ("grpc.server_handshake_timeout_ms", min(config.limits.idle_s * 1000, 60_000)),
        # Calls of one connection: more of its own wait at the client, and those of others are answered.
        ("grpc.max_concurrent_streams", max(_LEAST_STREAMS, config.limits.in_flight // 10)),
        # Or silent ones would take the descriptors that REST and the models need.
        ("grpc.max_allowed_incoming_connections", resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4),
    ]
    interceptors = [TokenCheck(config.token)] if config.token else []
    server = grpc.aio.server(
        options=options, interceptors=interceptors, maximum_concurrent_rpcs=config.limits.in_flight
    )
    servicer = health.aio.HealthServicer()
    add_services(server, core, servicer, reload)
    address = f"[{config.host}]:{config.grpc_port}" if ":" in config.host else f"{config.host}:{config.grpc_port}"
    if config.tls_key and config.tls_certificate:
        server.add_secure_port(address, grpc_credentials(config))
    else:
        server.add_insecure_port(address)
    await server.start()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    return server


async def start_rest(config: ServeConfig, core: Any) -> tuple[Any, asyncio.Task[None]]:
    """Returns a server of REST that answers from the core, and the task that it runs in."""
    import uvicorn

    from trainers.serving.server.doors.guards import rest_context
    from trainers.serving.server.doors.predict_protocol import predict_protocol
    from trainers.serving.server.doors.rest import application

    assert config.rest_port is not None
    settings = uvicorn.Config(
        application(core),
        http=predict_protocol(core),  # type: ignore[arg-type]
        ws="none",
        log_level="error",  # what a stranger sends is answered, and must not fill a log
        access_log=False,
        lifespan="off",
        timeout_keep_alive=config.limits.idle_s,
        timeout_graceful_shutdown=int(config.drain_s),
        h11_max_incomplete_event_size=1 << 16,
    )
    settings.load()
    context = None
    if config.tls_certificate:  # uvicorn is not told of it: it would read the files once for a context of its own
        settings.ssl = context = rest_context(config)
    server = uvicorn.Server(settings)
    # uvicorn would take the signals for itself; the worker stops all of its servers in order.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    listening = closed_first(bound_socket(config.host, config.rest_port))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    if context is not None:
        following = context.follow(config.poll_s, lambda: server.should_exit)
        # A task that nobody holds may be collected.
        server.certificates = asyncio.create_task(following)  # type: ignore[attr-defined]
    return server, task


def most_files(limit: int) -> int:
    """Returns how many descriptors a process takes of those that it may have: `Patience` counts its connections by them."""
    return _MOST_FILES if limit == resource.RLIM_INFINITY else min(limit, _MOST_FILES)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one process of a server; says `ready` on its standard output once it answers."""
    path, *rest = sys.argv[1:] if argv is None else argv
    show_warnings("fullpass serve: ")
    config = ServeConfig.from_json(Path(path).read_text())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files(most), most))

    def ready() -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _event_loop_runner()(
        run_worker(config, ready, sys.stdin.fileno() if rest == [UNTIL_EOF] else None, Path(path).parent)
    )
    return 0


def _event_loop_runner() -> Any:
    """uvloop's where it is installed (it is not on Windows): it does more requests a second than asyncio's own."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run
    return uvloop.run


if __name__ == "__main__":
    sys.exit(main())
