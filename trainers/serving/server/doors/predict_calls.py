"""The short way of Predict, Classify and Regress over gRPC: from a message's bytes to the batch and back, without a message a request.

What is not a plain request of tensors or examples that fit its signature goes on to `PredictionService`, as if this were not here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import classification_pb2, model_pb2, predict_pb2, regression_pb2

from trainers.serving.server.batcher import Waiting
from trainers.serving.server.core import Core
from trainers.serving.server.doors.grpc_service import (
    PredictionService,
    asked_of,
    classification_of,
    model_spec_of,
    regression_of,
)
from trainers.serving.server.doors.routes import Routes
from trainers.serving.server.doors.scores import regressions_of, scores_and_labels
from trainers.serving.server.doors.tensors import to_proto
from trainers.serving.server.errors import InvalidRequest, RequestError
from trainers.serving.server.packed import Spans, classes_message, message_spec, outputs_message, regressions_message
from trainers.serving.server.versions import LoadedVersion

__all__ = ["ClassifyCall", "PredictCalls", "RegressCall"]

_Route = tuple[str, int | None, str | None, str]


class PredictCalls:
    """Answers Predict, Classify or Regress, given and returning the bytes of its messages.

    Args:
        core: of the server.
        service: that answers what has no short way.
        method: which of the three.
    """

    def __init__(self, core: Core, service: PredictionService, method: str = "Predict") -> None:
        self._core, self._service = core, service
        self._long = getattr(service, method)
        self._kind, self._request, self._reader = _METHODS[method]
        self._most_rows = min(core.config.limits.request_rows, core.config.batching.max_batch_size)
        self._routes = Routes(_route_of)

    async def answer(self, body: bytes, context: Any) -> bytes:
        """Returns the bytes of a response."""
        try:
            call = self._begun(body, context)
            if call is not None:
                return await call.answer
        except RequestError as error:
            await context.abort(getattr(grpc.StatusCode, error.code), error.details)
        try:
            request = self._request.FromString(body)
        except DecodeError:
            refused = InvalidRequest(f"the message is not a {self._request.DESCRIPTOR.name}")
            self._core.failed("", refused)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
        response = await self._long(request, context)
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
        packed = getattr(version.reader, self._reader)(body, signature, self._most_rows)
        if packed is None:
            return None
        left = context.time_remaining()
        call = self._kind(self._core, version, packed, None if left is None else time.monotonic() + left)
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

    @staticmethod
    def message(outputs: Mapping[str, np.ndarray]) -> Any:
        """Returns the response to outputs that `write` does not write, without its spec.

        Raises:
            RequestError: they are not what the method answers.
        """
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(to_proto(value))
        return response

    def finish(self, answer: Any) -> None:
        if not isinstance(answer, bytes | BaseException):
            try:
                answer = self.message(answer).SerializeToString()
            except Exception as failure:  # an output of a type that messages have no field for
                answer = failure
        error = self.core.error_of(self.version, answer) if isinstance(answer, BaseException) else None
        self.core.answered(self.version, self.rows, time.perf_counter() - self.start, error)
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            # Fields of a message may stand in any order; the spec has one number in the responses of all three.
            spec = model_spec_of(self.version, self.signature)
            self.answer.set_result(answer + predict_pb2.PredictResponse(model_spec=spec).SerializeToString())


class ClassifyCall(_Call):
    """A call of Classify that waits for its classes and scores."""

    __slots__ = ()

    @staticmethod
    def write(outputs: Mapping[str, np.ndarray], spans: Spans) -> list[bytes] | None:
        try:
            scores, labels = scores_and_labels(outputs)
            names = None if labels is None else labels.reshape(-1).tolist()
            for name in set(names or ()):
                name.decode()
        except (InvalidRequest, UnicodeDecodeError, AttributeError):
            return None  # each request is told what is wrong with its own rows
        return classes_message(scores, names, spans) if scores.dtype == np.float32 and scores.size else None

    @staticmethod
    def message(outputs: Mapping[str, np.ndarray]) -> Any:
        return classification_pb2.ClassificationResponse(result=classification_of(outputs))


class RegressCall(_Call):
    """A call of Regress that waits for its numbers."""

    __slots__ = ()

    @staticmethod
    def write(outputs: Mapping[str, np.ndarray], spans: Spans) -> list[bytes] | None:
        try:
            values = regressions_of(outputs)
        except InvalidRequest:
            return None
        return regressions_message(values, spans) if values.dtype == np.float32 else None

    @staticmethod
    def message(outputs: Mapping[str, np.ndarray]) -> Any:
        return regression_pb2.RegressionResponse(result=regression_of(outputs))


# By method: what waits for an answer, the message of a request, and what of the reader reads it.
_METHODS: dict[str, tuple[type[_Call], Any, str]] = {
    "Predict": (_Call, predict_pb2.PredictRequest, "read_message"),
    "Classify": (ClassifyCall, classification_pb2.ClassificationRequest, "read_examples"),
    "Regress": (RegressCall, regression_pb2.RegressionRequest, "read_examples"),
}
