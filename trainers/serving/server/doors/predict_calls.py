"""The short way of Predict over gRPC: from the bytes of the message to the batch and back, without a message or an array a request.

What is not a plain request of tensors that fit its signature goes on to `PredictionService`, as if this were not here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import model_pb2, predict_pb2

from trainers.serving.server.batcher import Waiting
from trainers.serving.server.core import Core
from trainers.serving.server.doors.grpc_service import PredictionService, asked_of, model_spec_of
from trainers.serving.server.doors.routes import Routes
from trainers.serving.server.doors.tensors import to_proto
from trainers.serving.server.errors import InvalidRequest, RequestError
from trainers.serving.server.packed import Spans, message_spec, outputs_message
from trainers.serving.server.versions import LoadedVersion

__all__ = ["PredictCalls"]

_Route = tuple[str, int | None, str | None, str]


class PredictCalls:
    """Answers Predict, given and returning the bytes of its messages."""

    def __init__(self, core: Core, service: PredictionService) -> None:
        self._core, self._service = core, service
        self._most_rows = min(core.config.limits.request_rows, core.config.batching.max_batch_size)
        self._routes = Routes(_route_of)

    async def answer(self, body: bytes, context: Any) -> bytes:
        """Returns the bytes of a PredictResponse."""
        try:
            call = self._begun(body, context)
            if call is not None:
                return await call.answer
        except RequestError as error:
            await context.abort(getattr(grpc.StatusCode, error.code), str(error))
        try:
            request = predict_pb2.PredictRequest.FromString(body)
        except DecodeError:
            refused = InvalidRequest("the message is not a PredictRequest")
            self._core.failed("", refused)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
        response = await self._service.Predict(request, context)
        return bytes(response.SerializeToString())

    def _begun(self, body: bytes, context: Any) -> _Call | None:
        """Returns the call that waits for its answer; None where the request is not for the short way, if only since it is wrong."""
        if not self._core.submits:
            return None
        spec = message_spec(body)
        route = None if spec is None else self._routes.find(spec)
        if route is None:
            return None
        name, number, label, signature = route
        try:
            version = self._core.version(name, number, label)
        except RequestError:
            return None
        packed = version.reader.read_message(body, signature, self._most_rows)
        if packed is None:
            return None
        left = context.time_remaining()
        call = _Call(self._core, version, packed, None if left is None else time.monotonic() + left)
        try:
            self._core.submit(version, signature, call)
        except RequestError as error:
            self._core.failed(name, error)
            raise
        return call


def _route_of(spec: bytes) -> _Route | None:
    try:
        message = model_pb2.ModelSpec.FromString(spec)
    except DecodeError:
        return None
    return *asked_of(message), message.signature_name or "serving_default"


class _Call(Waiting):
    __slots__ = ("answer", "core", "signature", "start", "version")

    def __init__(self, core: Core, version: LoadedVersion, packed: Any, deadline: float | None) -> None:
        super().__init__(packed, packed.rows, deadline)
        self.core, self.version, self.signature = core, version, packed.signature
        self.start = time.perf_counter()
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @property
    def gone(self) -> bool:
        return self.answer.done()  # cancelled, with the coroutine that waits for it

    @staticmethod
    def write(outputs: Mapping[str, np.ndarray], spans: Spans) -> list[bytes] | None:
        return outputs_message(outputs, spans)

    def finish(self, answer: Any) -> None:
        if not isinstance(answer, bytes | BaseException):
            try:
                answer = _outputs(answer)
            except Exception as failure:  # an output of a type that messages have no field for
                answer = failure
        error = self.core.error_of(self.version, answer) if isinstance(answer, BaseException) else None
        self.core.answered(self.version, self.rows, time.perf_counter() - self.start, error)
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            # Fields of a message may stand in any order.
            spec = model_spec_of(self.version, self.signature)
            self.answer.set_result(answer + predict_pb2.PredictResponse(model_spec=spec).SerializeToString())


def _outputs(outputs: Any) -> bytes:
    response = predict_pb2.PredictResponse()
    for name, value in outputs.items():
        response.outputs[name].CopyFrom(to_proto(value))
    return bytes(response.SerializeToString())
