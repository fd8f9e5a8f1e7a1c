"""TensorFlow Serving's REST API as an ASGI application, with health and metrics beside it."""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import time
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.core.json_text import parse_json
from trainers.serving.server.core import Core
from trainers.serving.server.doors.bodies import examples_of, unpacked, word_of
from trainers.serving.server.doors.scores import classes_of, regressions_of
from trainers.serving.server.doors.tensors import as_written, from_json, to_json
from trainers.serving.server.errors import InvalidRequest, RequestError
from trainers.serving.server.versions import NO_SIGNATURE, LoadedVersion

__all__ = ["application"]

_PATH = re.compile(
    r"(?P<name>[^/:]+)(?:/versions/(?P<number>[0-9]{1,19})|/labels/(?P<label>[^/:]+))?(?P<verb>:\w+|/metadata)?/?"
)
# Bytes beyond the limit that are taken and thrown away: most clients read no answer before they have sent all, and have a broken pipe for
# an answer where the connection is closed under them.
_MOST_DISCARDED = 64 << 20
# All that a client may say: a verb that is not answered is a malformed request to TensorFlow Serving.
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


def application(core: Core) -> Starlette:
    """Returns the application."""
    handler = _Handler(core)
    return Starlette(
        routes=[
            Route("/v1/models/{path:path}", handler.models, methods=_METHODS),
            Route("/v1/{path:path}", handler.malformed, methods=_METHODS),
            Route("/healthz", handler.health),
            Route("/readyz", handler.ready),
            Route("/metrics", handler.metrics),
            Route("/monitoring/prometheus/metrics", handler.metrics),  # TensorFlow Serving's place
        ]
    )


class _Handler:
    def __init__(self, core: Core) -> None:
        self._core = core

    async def health(self, request: Request) -> Response:
        """Whether the process lives."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether requests can be answered."""
        ready = self._core.ready
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Counts for Prometheus."""
        text, kind = self._core.metrics.text()
        return Response(text, media_type=kind)

    async def models(self, request: Request) -> Response:
        """All of `/v1/models/...`."""
        match = _PATH.fullmatch(request.path_params["path"])
        try:
            self._check_token(request)
            if match is None:
                raise _malformed(request)
            return await self._answer(request, match)
        except RequestError as error:
            self._core.failed(match["name"] if match else "", error)
            return _json({"error": error.details}, error.http)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as failure:
            told = self._core.failed_itself(match["name"] if match else "", failure)
            return _json({"error": told.details}, told.http)

    async def malformed(self, request: Request) -> Response:
        """All else below `/v1`."""
        error = _malformed(request)
        self._core.failed("", error)
        return _json({"error": error.details}, error.http)

    def _check_token(self, request: Request) -> None:
        token = self._core.config.token
        given = request.headers.get("authorization", "")
        if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise _Unauthorized("the request has no valid token; send `authorization: Bearer TOKEN`")

    async def _answer(self, request: Request, match: re.Match[str]) -> Response:
        name, verb = match["name"], match["verb"]
        number = int(match["number"]) if match["number"] else None
        reads = request.method in ("GET", "HEAD")
        if reads and verb is None:
            return self._status(name, number, match["label"])
        if reads and verb == "/metadata":
            return self._metadata(self._core.version(name, number, match["label"]))
        if request.method != "POST" or verb not in (":predict", ":classify", ":regress"):
            raise InvalidRequest(
                f"Malformed request: {request.method} {request.url.path}; expected POST with :predict, :classify or :regress"
            )
        body = await self._body(request)
        version = self._core.version(name, number, match["label"])
        unknown = 'Serving signature name: "{}" not found in signature def.' if verb == ":predict" else NO_SIGNATURE
        wanted = version.signature(word_of(body, "signature_name"), unknown, InvalidRequest)
        deadline = _deadline(request)
        if verb == ":predict":
            tensors, rows = from_json(body, wanted)
        else:
            tensors, rows = {"": np.array([*examples_of(body), None], object)[:-1]}, True
        answer = await self._core.predict(
            name, tensors, signature=wanted.name, at=version, deadline=deadline, carrier=request.headers
        )
        if verb == ":predict":
            return _json(to_json(answer.outputs, rows))
        if verb == ":regress":
            return _json({"results": as_written(regressions_of(answer.outputs))})
        return _json({"results": [[[label, score] for label, score in row] for row in classes_of(answer.outputs)]})

    async def _body(self, request: Request) -> dict[str, Any]:
        limit = self._core.config.limits.request_bytes
        chunks: list[bytes] = []
        size = 0
        declared = int(request.headers.get("content-length", 0))  # the parser has looked at it
        if declared <= limit + _MOST_DISCARDED and not (declared > limit and "expect" in request.headers):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                    continue
                chunks.clear()
                if size > limit + _MOST_DISCARDED:
                    break
        if max(size, declared) > limit:
            raise InvalidRequest(f"the body is larger than {limit} bytes")
        try:
            text = unpacked(b"".join(chunks), request, limit)
            body = parse_json(text, unique=True, finite=True)
        except ValueError as error:
            raise InvalidRequest(f"JSON Parse error: {error}") from None
        if not isinstance(body, dict):
            raise InvalidRequest("JSON Value is not an object; expected {'instances': [...]} or {'inputs': ...}")
        return body

    def _status(self, name: str, number: int | None, label: str | None) -> Response:
        states = [
            {
                "version": str(each),
                "state": _STATES[state],
                "status": {"error_code": "UNKNOWN" if text else "OK", "error_message": text},
            }
            for each, state, text in self._core.states(name, number, label)
        ]
        return _text({"model_version_status": states})

    def _metadata(self, version: LoadedVersion) -> Response:
        from google.protobuf.json_format import MessageToDict

        definitions = {
            name: MessageToDict(each, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
            for name, each in version.definitions.items()
        }
        spec = {"name": version.model, "signature_name": "", "version": str(version.number)}
        return _text({"model_spec": spec, "metadata": {"signature_def": {"signature_def": definitions}}})


class _Unauthorized(RequestError, code="UNAUTHENTICATED", http=401):
    """The token is missing or not the right one."""


def _malformed(request: Request) -> InvalidRequest:
    return InvalidRequest(
        f"Malformed request: {request.method} {request.url.path}; expected /v1/models/NAME[/versions/N|/labels/L][:VERB]"
    )


def _json(value: Any, status: int = 200) -> Response:
    # Not JSONResponse, which refuses NaN: TensorFlow Serving writes NaN and Infinity as they are. Nor halves of characters.
    return Response(json.dumps(value), status, media_type="application/json")


def _text(value: Any) -> Response:
    """A message as TensorFlow Serving prints it."""
    return Response(json.dumps(value, indent=1) + "\n", media_type="application/json")


def _deadline(request: Request) -> float | None:
    """A client says how long it waits: `x-request-timeout-ms`."""
    with contextlib.suppress(KeyError, ValueError):
        return time.monotonic() + float(request.headers["x-request-timeout-ms"]) / 1000
    return None
