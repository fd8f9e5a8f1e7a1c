"""Where a server listens, and how long a call's message may take to come."""

from __future__ import annotations

import asyncio
import resource
import socket
import types

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc

from trainers.serving.server.config import Limits, ModelConfig, ServeConfig
from trainers.serving.server.doors.grpc_server import add_services
from trainers.serving.server.worker import closed_first


def test_the_socket_that_takes_connections_lies_above_them(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (512, 512))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        with closed_first(listening) as moved:
            assert moved.fileno() >= 256 and moved.getsockname() == address
            assert listening.fileno() == -1, "the descriptor below the connections is closed"


def test_a_socket_without_room_above_the_connections_stays(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 100))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert closed_first(listening) is listening and listening.fileno() != -1


class Server:
    """Keeps the first handler of Predict that is added to it."""

    predict = None

    def add_generic_rpc_handlers(self, handlers):
        details = types.SimpleNamespace(method="/tensorflow.serving.PredictionService/Predict")
        for handler in handlers:
            self.predict = self.predict or handler.service(details)

    def add_registered_method_handlers(self, service, handlers):
        pass


class Ended(Exception):
    """The call was ended."""


class Call:
    """One whose client sends no message."""

    async def read(self):
        return grpc.aio.EOF

    async def abort(self, code, why):
        raise Ended(code)


@pytest.mark.parametrize("limits", [Limits(), Limits(idle_s=5, request_bytes=1 << 30)])
def test_the_largest_message_has_the_time_to_come_over_a_slow_line(limits, monkeypatch):
    server, timers = Server(), []
    config = ServeConfig(models=(ModelConfig(name="m", directory="m"),), limits=limits)
    add_services(server, types.SimpleNamespace(config=config, reload=None), health_pb2_grpc.HealthServicer())

    async def called(handler):
        loop = asyncio.get_running_loop()
        later = loop.call_later
        monkeypatch.setattr(loop, "call_later", lambda delay, *rest: timers.append(delay) or later(delay, *rest))
        with pytest.raises(Ended):
            await handler.stream_unary(None, Call())

    asyncio.run(called(server.predict))
    assert timers == [limits.idle_s + limits.request_bytes / 250_000]
