"""What the gRPC port of a server answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from trainers.serving.server.config import ModelConfig
from trainers.serving.server.core import Core
from trainers.serving.server.doors.grpc_service import ModelService, PredictionService
from trainers.serving.server.doors.predict_calls import PredictCalls

__all__ = ["add_services"]

_LEAST_BYTES_PER_S = 250_000  # of a message, after the first `idle_s`


def add_services(
    server: Any, core: Core, health: Any, reload: Callable[[tuple[ModelConfig, ...]], None] | None = None
) -> None:
    """Adds TensorFlow Serving's services and the one of health to a `grpc.aio` server.

    Args:
        server: which has not started.
        core: that answers.
        health: servicer of `grpc.health.v1.Health`.
        reload: serves another list of models; the core's own where it is the only one of its server.
    """
    limits = core.config.limits
    # A call does not see how much of its message has come: each has the time of the largest.
    in_time = _InTime(server, limits.idle_s + limits.request_bytes / _LEAST_BYTES_PER_S)
    service = PredictionService(core)
    # The first that knows a method answers it: these without deserializer and serializer, which would make messages of their bytes.
    short = {
        method: grpc.unary_unary_rpc_method_handler(PredictCalls(core, service, method).answer)
        for method in ("Predict", "Classify", "Regress")
    }
    in_time.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", short),)
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, in_time)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(core, reload or core.reload), in_time)
    health_pb2_grpc.add_HealthServicer_to_server(health, in_time)


class _InTime:
    """A server to add services to, whose calls end when their one message does not come.

    gRPC calls a handler of one message once that has come, however long that takes: who has the token, or where none is asked for,
    could hold one of the calls that the server answers at once for as long as he liked. As handlers of streams they are called at
    once, and read the message themselves; a client sees no difference.
    """

    def __init__(self, server: Any, patience_s: float) -> None:
        self._server, self._patience_s = server, patience_s

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(_Generic(each, self._patience_s) for each in handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        timed = {name: _in_time(each, self._patience_s) for name, each in handlers.items()}
        self._server.add_registered_method_handlers(service, timed)


class _Generic(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, handlers: grpc.GenericRpcHandler, patience_s: float) -> None:
        self._handlers, self._patience_s = handlers, patience_s
        self._known: dict[str, Any] = {}  # methods that exist: a stranger's names add nothing

    def service(self, handler_call_details: Any) -> Any:
        found = self._known.get(handler_call_details.method)
        if found is None and (handler := self._handlers.service(handler_call_details)) is not None:
            found = self._known[handler_call_details.method] = _in_time(handler, self._patience_s)
        return found


def _in_time(handler: Any, patience_s: float) -> Any:
    """Returns a handler of a stream for one of one message; others as they are."""
    if handler.request_streaming or handler.response_streaming:
        return handler
    answer = handler.unary_unary

    async def read_and_answer(_: Any, context: Any) -> Any:
        # A timer that cancels, in place of `asyncio.wait_for`: that makes a task of its own for each call.
        task, late = asyncio.current_task(), False
        assert task is not None

        def end() -> None:
            nonlocal late
            late = True
            task.cancel()

        timer = asyncio.get_running_loop().call_later(patience_s, end)
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if not late:
                raise
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the call's message did not come within {patience_s:.0f} s"
            )
        finally:
            timer.cancel()
        if message is grpc.aio.EOF:
            try:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
            except (
                grpc.aio.InternalError
            ):  # gRPC has ended the call itself, for a message that is too large, and would log our try
                raise asyncio.CancelledError from None
        return await answer(message, context)

    return grpc.stream_unary_rpc_method_handler(
        read_and_answer, handler.request_deserializer, handler.response_serializer
    )
