"""A server whose doors are open on a core in this process, for tests that look into it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from engine.machine.ports import free_ports
from trainers.serving.server.config import ServeConfig
from trainers.serving.server.core import Core
from trainers.serving.server.worker import start_grpc, start_rest

__all__ = ["serving_here"]


@contextlib.contextmanager
def serving_here(core: Core) -> Iterator[SimpleNamespace]:
    """Serves what the core has loaded, over gRPC and REST, on free ports: `config` has them, `core` is the core."""
    ready, failed, loop, stop = threading.Event(), list[BaseException](), asyncio.new_event_loop(), asyncio.Event()
    configs = list[ServeConfig]()

    async def serve() -> None:
        config, grpc_server, (rest_server, task) = await _opened(core)
        configs.append(config)
        ready.set()
        await stop.wait()
        rest_server.should_exit = True
        await asyncio.gather(grpc_server.stop(1), task, core.drain())

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, daemon=True)  # or one that never starts would hold the tests' end up
    thread.start()
    assert ready.wait(120)
    if failed:
        raise failed[0]
    try:
        yield SimpleNamespace(config=configs[0], core=core)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
    assert not failed


async def _opened(core: Core) -> tuple[ServeConfig, Any, tuple[Any, asyncio.Task[None]]]:
    """Both doors; on other ports where another program took one of the free ones, which nobody holds."""
    for left in reversed(range(5)):
        ports = free_ports(2)
        config = dataclasses.replace(core.config, grpc_port=ports[0], rest_port=ports[1])
        grpc_server = None
        try:
            grpc_server = await start_grpc(config, core)
            return config, grpc_server, await start_rest(config, core)
        except (OSError, RuntimeError):  # of REST, of gRPC
            if grpc_server is not None:
                await grpc_server.stop(0)
            if not left:
                raise
    raise AssertionError
